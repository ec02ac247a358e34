//! The hospital's patient administration system, from Synthea's patients, encounters, conditions and observations.

use std::{collections::HashMap, path::Path};

use super::{Cell, LegacyError, Load, code, compact, slashed, slashed_with_time, some};
use crate::{
    data::{CONDITIONS, Condition, ENCOUNTERS, Encounter, OBSERVATIONS, Observation, PATIENTS, Patient},
    nhs::TestNumber,
};

const SCHEMA: &str = include_str!("../../members/trust/legacy.sql");
const FIRST_PATIENT: i64 = 100_001;
const FIRST_ENCOUNTER: i64 = 5_000_001;

/// Writes the database to `file`.
///
/// # Errors
///
/// [`LegacyError`] when the file exists or cannot be written.
pub async fn build(file: &Path) -> Result<(), LegacyError> {
    let mut load = Load::begin(file, SCHEMA).await?;
    let patients = patients(&mut load).await?;
    let encounters = encounters(&mut load, &patients).await?;
    conditions(&mut load, &patients, &encounters).await?;
    observations(&mut load, &patients, &encounters).await?;
    load.finish().await
}

/// The system's own numbers, by the public data's identifiers.
type Numbers = HashMap<String, i64>;

fn number(column: &'static str, numbers: &Numbers, id: &str) -> Result<i64, LegacyError> {
    numbers.get(id).copied().ok_or_else(|| LegacyError::Code { column, value: id.to_owned() })
}

async fn patients(load: &mut Load) -> Result<Numbers, LegacyError> {
    let mut numbers = Numbers::new();
    for ((patient, pat_no), position) in PATIENTS.rows::<Patient>()?.into_iter().zip(FIRST_PATIENT..).zip(0..) {
        let row: [Cell; 15] = [
            pat_no.into(),
            TestNumber::nth(position).to_string().into(),
            some(&patient.prefix).into(),
            some(&patient.first).into(),
            patient.last.into(),
            some(&patient.maiden).into(),
            code("SEX_CD", &patient.gender, &[("M", "1"), ("F", "2"), ("", "9")])?.into(),
            compact(&patient.birthdate).into(),
            format!("{:8}", compact(&patient.deathdate)).into(),
            code("MARST_CD", &patient.marital, &[("S", "S"), ("M", "M"), ("", " ")])?.into(),
            code("ETH_CD", &patient.race, &ETHNICITIES)?.into(),
            some(&patient.address).into(),
            some(&patient.city).into(),
            some(&patient.county).into(),
            some(&patient.zip).into(),
        ];
        load.row("PATMST", row).await?;
        numbers.insert(patient.id, pat_no);
    }
    Ok(numbers)
}

const ETHNICITIES: [(&str, &str); 6] =
    [("asian", "A"), ("black", "B"), ("hawaiian", "H"), ("native", "N"), ("other", "O"), ("white", "W")];

const CLASSES: [(&str, &str); 6] = [
    ("wellness", "WEL"),
    ("ambulatory", "AMB"),
    ("outpatient", "OUT"),
    ("emergency", "EME"),
    ("inpatient", "INP"),
    ("urgentcare", "URG"),
];

const CATEGORIES: [(&str, &str); 6] =
    [("vital-signs", "VS"), ("laboratory", "LB"), ("survey", "SV"), ("procedure", "PR"), ("exam", "EX"), ("", "  ")];

async fn encounters(load: &mut Load, patients: &Numbers) -> Result<Numbers, LegacyError> {
    let mut numbers = Numbers::new();
    for (encounter, enc_no) in ENCOUNTERS.rows::<Encounter>()?.into_iter().zip(FIRST_ENCOUNTER..) {
        let (st_dt, st_tm) = slashed_with_time(&encounter.start);
        let (en_dt, en_tm) = slashed_with_time(&encounter.stop);
        let row: [Cell; 11] = [
            enc_no.into(),
            number("PAT_NO", patients, &encounter.patient)?.into(),
            code("CLS_CD", &encounter.class, &CLASSES)?.into(),
            st_dt.into(),
            st_tm.into(),
            en_dt.into(),
            en_tm.into(),
            encounter.code.into(),
            encounter.description.into(),
            some(&encounter.reason_code).into(),
            some(&encounter.reason_description).into(),
        ];
        load.row("ENCTR", row).await?;
        numbers.insert(encounter.id, enc_no);
    }
    Ok(numbers)
}

async fn conditions(load: &mut Load, patients: &Numbers, encounters: &Numbers) -> Result<(), LegacyError> {
    for (condition, con_no) in CONDITIONS.rows::<Condition>()?.into_iter().zip(1_i64..) {
        let row: [Cell; 8] = [
            con_no.into(),
            number("PAT_NO", patients, &condition.patient)?.into(),
            number("ENC_NO", encounters, &condition.encounter)?.into(),
            slashed(&condition.start).into(),
            some(&condition.stop).map(slashed).into(),
            condition.code.into(),
            condition.description.into(),
            if condition.stop.is_empty() { "Y" } else { "N" }.into(),
        ];
        load.row("CONDN", row).await?;
    }
    Ok(())
}

async fn observations(load: &mut Load, patients: &Numbers, encounters: &Numbers) -> Result<(), LegacyError> {
    for (observation, obs_no) in OBSERVATIONS.rows::<Observation>()?.into_iter().zip(1_i64..) {
        let (obs_dt, obs_tm) = slashed_with_time(&observation.date);
        let encounter = some(&observation.encounter).map(|id| number("ENC_NO", encounters, id)).transpose()?;
        let row: [Cell; 11] = [
            obs_no.into(),
            number("PAT_NO", patients, &observation.patient)?.into(),
            encounter.into(),
            obs_dt.into(),
            obs_tm.into(),
            code("CAT_CD", &observation.category, &CATEGORIES)?.into(),
            observation.code.into(),
            observation.description.into(),
            code("TYP_FLG", &observation.kind, &[("numeric", "N"), ("text", "T")])?.into(),
            observation.value.into(),
            // The generator writes the word for "no unit".
            some(&observation.units).filter(|units| *units != "null").into(),
        ];
        load.row("OBSN", row).await?;
    }
    Ok(())
}
