-- Gazetteer of the command and control system. Fixed-width codes padded with blanks, coordinates as text.

CREATE TABLE FRC (                         -- forces
    FRC_NO      CHAR(3) PRIMARY KEY,       -- padded with zeros
    FRC_SLUG    VARCHAR(30) NOT NULL,
    FRC_NM      VARCHAR(60) NOT NULL
);
CREATE UNIQUE INDEX FRC_X1 ON FRC (FRC_SLUG);

CREATE TABLE NBH (                         -- neighbourhoods
    FRC_NO      CHAR(3) NOT NULL,
    NBH_CD      CHAR(32) NOT NULL,         -- padded with blanks on the right
    NBH_NM      VARCHAR(80) NOT NULL,      -- as the web form stored it: &amp; and the like
    NBH_URL     VARCHAR(120) NOT NULL,
    PRIMARY KEY (FRC_NO, NBH_CD)
);

CREATE TABLE STN (                         -- stations, one row for each neighbourhood served
    STN_NO      INTEGER PRIMARY KEY,
    FRC_NO      CHAR(3) NOT NULL,
    NBH_CD      CHAR(32) NOT NULL,
    STN_NM      VARCHAR(80) NOT NULL,
    STN_ADR     VARCHAR(160),
    STN_PC      VARCHAR(10),
    LAT         VARCHAR(12),               -- degrees as text, empty when not surveyed
    LNG         VARCHAR(12),
    SURV_FLG    CHAR(1) NOT NULL           -- Y or N
);
CREATE INDEX STN_X1 ON STN (FRC_NO, NBH_CD);

CREATE VIEW V_NBH AS
    SELECT f.FRC_SLUG, f.FRC_NM, rtrim(n.NBH_CD) AS NBH_CD, n.NBH_NM, n.NBH_URL,
           (SELECT count(*) FROM STN s WHERE s.FRC_NO = n.FRC_NO AND s.NBH_CD = n.NBH_CD) AS STN_CNT
    FROM NBH n JOIN FRC f ON f.FRC_NO = n.FRC_NO;
