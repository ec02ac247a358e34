//! The police force's gazetteer, from the public registers of forces, neighbourhoods and stations.

use std::{collections::HashMap, path::Path};

use super::{Cell, LegacyError, Load, some};
use crate::data::{FORCES, Force, NEIGHBOURHOODS, Neighbourhood, STATIONS, Station};

const SCHEMA: &str = include_str!("../../members/police/legacy.sql");

/// Writes the database to `file`.
///
/// # Errors
///
/// [`LegacyError`] when the file exists or cannot be written.
pub async fn build(file: &Path) -> Result<(), LegacyError> {
    let mut load = Load::begin(file, SCHEMA).await?;
    let mut numbers = HashMap::new();
    for (force, number) in FORCES.rows::<Force>()?.into_iter().zip(1..) {
        let number = format!("{number:03}");
        let row: [Cell; 3] = [number.clone().into(), force.id.clone().into(), force.name.into()];
        load.row("FRC", row).await?;
        numbers.insert(force.id, number);
    }
    let number = |force: &str| {
        let unknown = || LegacyError::Code { column: "FRC_NO", value: force.to_owned() };
        numbers.get(force).cloned().ok_or_else(unknown)
    };
    for neighbourhood in NEIGHBOURHOODS.rows::<Neighbourhood>()? {
        let row: [Cell; 4] = [
            number(&neighbourhood.force)?.into(),
            padded(&neighbourhood.id).into(),
            neighbourhood.name.into(),
            neighbourhood.url.into(),
        ];
        load.row("NBH", row).await?;
    }
    for (station, stn_no) in STATIONS.rows::<Station>()?.into_iter().zip(1_i64..) {
        let surveyed = !station.latitude.is_empty() && !station.longitude.is_empty();
        let row: [Cell; 9] = [
            stn_no.into(),
            number(&station.force)?.into(),
            padded(&station.neighbourhood).into(),
            station.name.into(),
            some(&station.address).into(),
            some(&station.postcode).into(),
            station.latitude.into(),
            station.longitude.into(),
            if surveyed { "Y" } else { "N" }.into(),
        ];
        load.row("STN", row).await?;
    }
    load.finish().await
}

/// A key of 32 characters, blanks on the right.
fn padded(code: &str) -> String {
    format!("{code:32}")
}
