//! The county council's gazetteer, from the register of local authorities and the code lists of other agencies.

use std::{collections::BTreeMap, path::Path};

use super::{Cell, LegacyError, Load, code, compact, some, whole};
use crate::data::{AUTHORITIES, AUTHORITY_NAMES, Authority, AuthorityName, CODE_LISTS, ListedCode};

const SCHEMA: &str = include_str!("../../members/council/legacy.sql");

/// Writes the database to `file`.
///
/// # Errors
///
/// [`LegacyError`] when the file exists or cannot be written.
pub async fn build(file: &Path) -> Result<(), LegacyError> {
    let mut load = Load::begin(file, SCHEMA).await?;
    let mut types = BTreeMap::new();
    for authority in AUTHORITIES.rows::<Authority>()? {
        own_codes(&mut load, &authority).await?;
        types.insert(authority.local_authority_type.clone(), authority.local_authority_type_name.clone());
        register(&mut load, authority).await?;
    }
    for (kind, name) in types {
        let row: [Cell; 2] = [kind.into(), name.into()];
        load.row("LATYP", row).await?;
    }
    for name in AUTHORITY_NAMES.rows::<AuthorityName>()? {
        let row: [Cell; 2] = [name.la_name.into(), name.local_authority_code.into()];
        load.row("LANAME", row).await?;
    }
    for (list, file) in CODE_LISTS {
        for listed in file.rows::<ListedCode>()? {
            let [code, authority, ..] = listed.as_slice() else { continue };
            // `local-authority-eng:BAS`
            let authority = authority.split_once(':').map_or("", |(_, code)| code);
            let row: [Cell; 3] = [list.into(), code.as_str().into(), authority.into()];
            load.row("LACODE", row).await?;
        }
    }
    load.finish().await
}

const NATIONS: [(&str, &str); 4] = [("England", "E"), ("Northern Ireland", "N"), ("Scotland", "S"), ("Wales", "W")];

async fn register(load: &mut Load, authority: Authority) -> Result<(), LegacyError> {
    let date = |date: &str, none: &str| if date.is_empty() { none.to_owned() } else { compact(date) };
    let row: [Cell; 17] = [
        authority.local_authority_code.into(),
        authority.official_name.into(),
        authority.nice_name.into(),
        some(&authority.gss_code).into(),
        code("NATN", &authority.nation, &NATIONS)?.into(),
        some(&authority.region).into(),
        authority.local_authority_type.into(),
        date(&authority.start_date, "00000000").into(),
        date(&authority.end_date, "99999999").into(),
        some(&authority.replaced_by).into(),
        some(&authority.county_la).into(),
        some(&authority.combined).into(),
        whole(&authority.population).into(),
        whole(&authority.area).into(),
        some(&authority.lat).into(),
        some(&authority.long).into(),
        code("CUR_FLG", &authority.current, &[("True", "Y"), ("False", "N")])?.into(),
    ];
    load.row("LAREG", row).await
}

/// The codes that the register itself holds.
async fn own_codes(load: &mut Load, authority: &Authority) -> Result<(), LegacyError> {
    for (list, listed) in [("GSS", &authority.gss_code), ("SNA", &authority.snac), ("ECD", &authority.ecode)] {
        if !listed.is_empty() {
            let row: [Cell; 3] = [list.into(), listed.as_str().into(), authority.local_authority_code.as_str().into()];
            load.row("LACODE", row).await?;
        }
    }
    Ok(())
}
