//! The agreements between the three members, signed by both sides of each.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use contract::Contracts;
use jiff::{Timestamp, tz::Offset};
use note::SigningKey;
use policy::AgreementFile;

use super::{ALL, MembersError, write_text};

/// Every agreement by its id.
pub(crate) const AGREEMENTS: [(&str, &str); 5] = [
    ("council-police-planning", include_str!("../../members/agreements/council-police-planning.toml")),
    ("council-trust-planning", include_str!("../../members/agreements/council-trust-planning.toml")),
    ("council-trust-safeguarding", include_str!("../../members/agreements/council-trust-safeguarding.toml")),
    ("police-council-roads", include_str!("../../members/agreements/police-council-roads.toml")),
    ("trust-council-discharge", include_str!("../../members/agreements/trust-council-discharge.toml")),
];

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Signs every agreement with the member keys of both sides and puts it into the folders of both.
pub(super) fn write(
    root: &Path,
    keys: &[SigningKey],
    contracts: &Contracts,
    now: SystemTime,
) -> Result<(), MembersError> {
    for (id, text) in AGREEMENTS {
        let what = || format!("the agreement `{id}`");
        let mut file = AgreementFile::parse(format!("{id}.note"), &filled(text, contracts, now)?)
            .map_err(|problems| MembersError::problems(what(), &problems))?;
        let agreement = file.agreement().clone();
        for key in keys {
            if [agreement.consumer(), agreement.provider()].iter().any(|member| member.member_key_name() == key.name())
            {
                file.sign(key).map_err(|error| MembersError::make(what(), error))?;
            }
        }
        for member in ALL {
            if [agreement.consumer(), agreement.provider()].iter().any(|party| party.as_ref() == member.id) {
                write_text(&root.join(member.folder).join("agreements").join(format!("{id}.note")), &file.to_string())?;
            }
        }
    }
    Ok(())
}

/// Puts the period and the digests of the contracts into an agreement.
fn filled(text: &str, contracts: &Contracts, now: SystemTime) -> Result<String, MembersError> {
    let instant = |time: SystemTime| {
        let seconds = Timestamp::try_from(time).map(Timestamp::as_second).and_then(Timestamp::from_second);
        seconds.map_err(|error| MembersError::make("the period of an agreement", error))
    };
    let mut text = text
        .replace("@from@", &instant(now - HOUR)?.to_string())
        .replace("@until@", &instant(now + 365 * DAY)?.to_string())
        .replace("@review@", &Offset::UTC.to_datetime(instant(now + 300 * DAY)?).date().to_string());
    for service in contracts.services() {
        text = text.replace(&format!("@digest:{}@", service.name), &service.digest.to_string());
    }
    Ok(text)
}
