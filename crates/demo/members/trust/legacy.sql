-- Patient administration system. Short upper-case names, codes in one table, dates and times as text, blanks for "none".

CREATE TABLE PATMST (                      -- patient master index
    PAT_NO      INTEGER PRIMARY KEY,       -- hospital number
    NHS_NO      CHAR(10) NOT NULL,
    TITLE       VARCHAR(6),
    FORENM      VARCHAR(35),
    SURNM       VARCHAR(35) NOT NULL,
    PREV_SURNM  VARCHAR(35),
    SEX_CD      CHAR(1) NOT NULL,          -- CDTAB SEX
    DOB         CHAR(8) NOT NULL,          -- YYYYMMDD
    DOD         CHAR(8) NOT NULL,          -- YYYYMMDD, eight blanks while alive
    MARST_CD    CHAR(1) NOT NULL,          -- CDTAB MAR, blank when not asked
    ETH_CD      CHAR(1) NOT NULL,          -- CDTAB ETH
    ADR1        VARCHAR(35),
    ADR2        VARCHAR(35),
    ADR3        VARCHAR(35),
    PCODE       VARCHAR(8)
);
CREATE UNIQUE INDEX PATMST_X1 ON PATMST (NHS_NO);

CREATE TABLE ENCTR (                       -- encounters
    ENC_NO      INTEGER PRIMARY KEY,
    PAT_NO      INTEGER NOT NULL,
    CLS_CD      CHAR(3) NOT NULL,          -- CDTAB CLS
    ST_DT       CHAR(10) NOT NULL,         -- DD/MM/YYYY
    ST_TM       CHAR(6) NOT NULL,          -- HHMMSS, UTC
    EN_DT       CHAR(10) NOT NULL,
    EN_TM       CHAR(6) NOT NULL,
    SCT_CD      VARCHAR(18) NOT NULL,      -- SNOMED CT
    ENC_DESC    VARCHAR(70) NOT NULL,
    RSN_CD      VARCHAR(18),
    RSN_DESC    VARCHAR(70)
);
CREATE INDEX ENCTR_X1 ON ENCTR (PAT_NO);

CREATE TABLE CONDN (                       -- conditions
    CON_NO      INTEGER PRIMARY KEY,
    PAT_NO      INTEGER NOT NULL,
    ENC_NO      INTEGER NOT NULL,
    ON_DT       CHAR(10) NOT NULL,         -- DD/MM/YYYY
    OFF_DT      CHAR(10),
    SCT_CD      VARCHAR(18) NOT NULL,
    CON_DESC    VARCHAR(100) NOT NULL,
    ACT_FLG     CHAR(1) NOT NULL           -- Y or N
);
CREATE INDEX CONDN_X1 ON CONDN (PAT_NO);

CREATE TABLE OBSN (                        -- observations
    OBS_NO      INTEGER PRIMARY KEY,
    PAT_NO      INTEGER NOT NULL,
    ENC_NO      INTEGER,
    OBS_DT      CHAR(10) NOT NULL,         -- DD/MM/YYYY
    OBS_TM      CHAR(6) NOT NULL,          -- HHMMSS, UTC
    CAT_CD      CHAR(2) NOT NULL,          -- CDTAB CAT
    LNC_CD      VARCHAR(10) NOT NULL,      -- LOINC
    OBS_DESC    VARCHAR(200) NOT NULL,
    TYP_FLG     CHAR(1) NOT NULL,          -- N number, T text
    VAL         VARCHAR(200) NOT NULL,
    UNT         VARCHAR(20)
);
CREATE INDEX OBSN_X1 ON OBSN (PAT_NO);

CREATE TABLE CDTAB (                       -- every code of the system
    TAB         CHAR(3) NOT NULL,
    CD          VARCHAR(3) NOT NULL,
    TXT         VARCHAR(40) NOT NULL,
    PRIMARY KEY (TAB, CD)
);
INSERT INTO CDTAB VALUES
    ('SEX', '0', 'Not known'), ('SEX', '1', 'Male'), ('SEX', '2', 'Female'), ('SEX', '9', 'Not specified'),
    ('ETH', 'A', 'Asian'), ('ETH', 'B', 'Black'), ('ETH', 'H', 'Pacific islander'), ('ETH', 'N', 'Native'),
    ('ETH', 'O', 'Other'), ('ETH', 'W', 'White'),
    ('MAR', ' ', 'Not asked'), ('MAR', 'S', 'Single'), ('MAR', 'M', 'Married'),
    ('CLS', 'WEL', 'Wellness'), ('CLS', 'AMB', 'Ambulatory'), ('CLS', 'OUT', 'Outpatient'),
    ('CLS', 'EME', 'Emergency'), ('CLS', 'INP', 'Inpatient'), ('CLS', 'URG', 'Urgent care'),
    ('CAT', 'VS', 'Vital signs'), ('CAT', 'LB', 'Laboratory'), ('CAT', 'SV', 'Survey'),
    ('CAT', 'PR', 'Procedure'), ('CAT', 'EX', 'Examination'), ('CAT', '  ', 'None');

-- What the ward screens read.
CREATE VIEW V_ENC AS
    SELECT e.ENC_NO, p.NHS_NO, e.CLS_CD, e.ST_DT || ' ' || e.ST_TM AS ST_DTM, e.EN_DT || ' ' || e.EN_TM AS EN_DTM,
           e.SCT_CD, e.ENC_DESC, e.RSN_CD, e.RSN_DESC
    FROM ENCTR e JOIN PATMST p ON p.PAT_NO = e.PAT_NO;
CREATE VIEW V_CON AS
    SELECT c.CON_NO, p.NHS_NO, c.ENC_NO, c.ON_DT, c.OFF_DT, c.SCT_CD, c.CON_DESC, c.ACT_FLG
    FROM CONDN c JOIN PATMST p ON p.PAT_NO = c.PAT_NO;
CREATE VIEW V_OBS AS
    SELECT o.OBS_NO, p.NHS_NO, o.ENC_NO, o.OBS_DT || ' ' || o.OBS_TM AS OBS_DTM, t.TXT AS CAT_TXT, o.LNC_CD, o.OBS_DESC,
           o.TYP_FLG, o.VAL, o.UNT
    FROM OBSN o JOIN PATMST p ON p.PAT_NO = o.PAT_NO LEFT JOIN CDTAB t ON t.TAB = 'CAT' AND t.CD = o.CAT_CD;
