-- Corporate gazetteer: the register of local authorities and the codes that other agencies give them.

CREATE TABLE LAREG (                       -- one row for each authority, current and former
    LA_CD       CHAR(5) PRIMARY KEY,
    OFF_NM      VARCHAR(80) NOT NULL,
    LA_NM       VARCHAR(60) NOT NULL,
    GSS_CD      CHAR(9),
    NATN        CHAR(1) NOT NULL,          -- E, W, S, N
    RGN_NM      VARCHAR(30),
    TYP_CD      VARCHAR(5) NOT NULL,       -- LATYP
    ST_DT       CHAR(8) NOT NULL,          -- YYYYMMDD, 00000000 when not known
    END_DT      CHAR(8) NOT NULL,          -- YYYYMMDD, 99999999 while it exists
    SUCC_CD     VARCHAR(20),               -- successors, separated by commas
    CNTY_CD     VARCHAR(5),                -- the county it lies in
    COMB_CD     VARCHAR(5),                -- combined authority
    POP_2020    INTEGER,
    AREA_KM2    INTEGER,
    LAT         VARCHAR(20),
    LNG         VARCHAR(20),
    CUR_FLG     CHAR(1) NOT NULL           -- Y or N
);

CREATE TABLE LATYP (
    TYP_CD      VARCHAR(5) PRIMARY KEY,
    TYP_NM      VARCHAR(40) NOT NULL
);

CREATE TABLE LANAME (                      -- every name an authority has been called by, as typed
    NM          VARCHAR(80) NOT NULL,
    LA_CD       CHAR(5) NOT NULL
);
CREATE INDEX LANAME_X1 ON LANAME (NM COLLATE NOCASE);

CREATE TABLE LALIST (                      -- the code lists
    LST_CD      CHAR(3) PRIMARY KEY,
    LST_NM      VARCHAR(60) NOT NULL
);
INSERT INTO LALIST VALUES
    ('GSS', 'Government Statistical Service'), ('SNA', 'Standard Names and Codes (ONS, former)'),
    ('ECD', 'English and Welsh billing authorities'),
    ('EDU', 'Register of schools'), ('FSA', 'Food hygiene ratings'), ('G50', '1:50,000 gazetteer'),
    ('ISO', 'ISO 3166-2:GB'), ('GEO', 'Local custodians of addresses'), ('REG', 'Registration districts');

CREATE TABLE LACODE (
    LST_CD      CHAR(3) NOT NULL,
    CD          VARCHAR(20) NOT NULL,
    LA_CD       CHAR(5) NOT NULL           -- blank when the list names no authority of the register
);                                         -- no key: some lists repeat a row
CREATE INDEX LACODE_X1 ON LACODE (LA_CD);

CREATE VIEW V_CUR AS SELECT * FROM LAREG WHERE CUR_FLG = 'Y';
