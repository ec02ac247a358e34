//! The public data files, embedded, and their rows. Where they come from, and under which licences: `data/README.md`.

use serde::{Deserialize, de::DeserializeOwned};

/// To be shown wherever the data is.
pub const ATTRIBUTION: &str = "Contains public sector information licensed under the Open Government Licence v3.0.";

/// One embedded file.
pub(crate) struct File {
    name: &'static str,
    delimiter: u8,
    text: &'static str,
}

/// Embeds a file of the folder `data/`; tab-separated when its name says so.
macro_rules! file {
    ($name:literal) => {
        File {
            name: $name,
            delimiter: if $name.as_bytes()[$name.len() - 3] == b't' { b'\t' } else { b',' },
            text: include_str!(concat!("../data/", $name)),
        }
    };
}

pub(crate) const PATIENTS: File = file!("synthea/patients.csv");
pub(crate) const ENCOUNTERS: File = file!("synthea/encounters.csv");
pub(crate) const CONDITIONS: File = file!("synthea/conditions.csv");
pub(crate) const OBSERVATIONS: File = file!("synthea/observations.csv");
pub(crate) const FORCES: File = file!("openregister-police/force.tsv");
pub(crate) const NEIGHBOURHOODS: File = file!("openregister-police/neighbourhood.tsv");
pub(crate) const STATIONS: File = file!("openregister-police/station.tsv");
pub(crate) const AUTHORITIES: File = file!("uk-local-authorities/uk_local_authorities_future.csv");
pub(crate) const AUTHORITY_NAMES: File = file!("uk-local-authorities/lookup_name_to_registry.csv");

/// The code lists of other agencies: three letters that the council's gazetteer calls each by, and its file.
pub(crate) const CODE_LISTS: [(&str, File); 6] = [
    ("EDU", file!("openregister-local-authority/edubase.tsv")),
    ("FSA", file!("openregister-local-authority/food-authority.tsv")),
    ("G50", file!("openregister-local-authority/gaz50k.tsv")),
    ("ISO", file!("openregister-local-authority/iso-code.tsv")),
    ("GEO", file!("openregister-local-authority/local-custodian.tsv")),
    ("REG", file!("openregister-local-authority/registration-district.tsv")),
];

/// An embedded file that does not have the columns it should have.
#[derive(Debug, thiserror::Error)]
#[error("the embedded file `{file}` is not as expected")]
pub struct DataError {
    file: &'static str,
    source: csv::Error,
}

impl File {
    /// Every row, in the order of the file.
    pub(crate) fn rows<T: DeserializeOwned>(&self) -> Result<Vec<T>, DataError> {
        csv::ReaderBuilder::new()
            .delimiter(self.delimiter)
            // Tab-separated registers use quotation marks as plain characters.
            .quoting(self.delimiter == b',')
            .from_reader(self.text.as_bytes())
            .into_deserialize()
            .collect::<Result<_, _>>()
            .map_err(|source| DataError { file: self.name, source })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) struct Patient {
    #[serde(rename = "Id")]
    pub id: String,
    pub birthdate: String,
    pub deathdate: String,
    pub prefix: String,
    pub first: String,
    pub last: String,
    pub maiden: String,
    pub marital: String,
    pub race: String,
    pub gender: String,
    pub address: String,
    pub city: String,
    pub county: String,
    pub zip: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) struct Encounter {
    #[serde(rename = "Id")]
    pub id: String,
    pub start: String,
    pub stop: String,
    pub patient: String,
    #[serde(rename = "ENCOUNTERCLASS")]
    pub class: String,
    pub code: String,
    pub description: String,
    #[serde(rename = "REASONCODE")]
    pub reason_code: String,
    #[serde(rename = "REASONDESCRIPTION")]
    pub reason_description: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) struct Condition {
    pub start: String,
    pub stop: String,
    pub patient: String,
    pub encounter: String,
    pub code: String,
    pub description: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) struct Observation {
    pub date: String,
    pub patient: String,
    pub encounter: String,
    pub category: String,
    pub code: String,
    pub description: String,
    pub value: String,
    pub units: String,
    #[serde(rename = "TYPE")]
    pub kind: String,
}

#[derive(Deserialize)]
pub(crate) struct Force {
    #[serde(rename = "force_id")]
    pub id: String,
    #[serde(rename = "force_name")]
    pub name: String,
}

#[derive(Deserialize)]
pub(crate) struct Neighbourhood {
    #[serde(rename = "force_id")]
    pub force: String,
    #[serde(rename = "neighbourhood_id")]
    pub id: String,
    #[serde(rename = "neighbourhood_name")]
    pub name: String,
    #[serde(rename = "neighbourhood_url")]
    pub url: String,
}

#[derive(Deserialize)]
pub(crate) struct Station {
    #[serde(rename = "force_id")]
    pub force: String,
    #[serde(rename = "neighbourhood_id")]
    pub neighbourhood: String,
    #[serde(rename = "station_name")]
    pub name: String,
    pub latitude: String,
    pub longitude: String,
    pub postcode: String,
    pub address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Authority {
    pub local_authority_code: String,
    pub official_name: String,
    pub nice_name: String,
    pub gss_code: String,
    pub start_date: String,
    pub end_date: String,
    pub replaced_by: String,
    pub nation: String,
    pub region: String,
    pub local_authority_type: String,
    pub local_authority_type_name: String,
    pub county_la: String,
    #[serde(rename = "combined-authority")]
    pub combined: String,
    #[serde(rename = "current-authority")]
    pub current: String,
    pub ecode: String,
    pub area: String,
    #[serde(rename = "pop-2020")]
    pub population: String,
    pub lat: String,
    pub long: String,
    pub snac: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct AuthorityName {
    pub la_name: String,
    pub local_authority_code: String,
}

/// A row of a code list: its first column is the code, by a different name in each file, its second the authority.
pub(crate) type ListedCode = Vec<String>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_the_rows_that_its_readme_counts() {
        let readme = include_str!("../data/README.md");
        let files = [
            PATIENTS,
            ENCOUNTERS,
            CONDITIONS,
            OBSERVATIONS,
            FORCES,
            NEIGHBOURHOODS,
            STATIONS,
            AUTHORITIES,
            AUTHORITY_NAMES,
        ];
        let lists = CODE_LISTS.map(|(_, file)| file);
        for file in files.into_iter().chain(lists) {
            let rows = file.rows::<Vec<String>>().unwrap().len();
            let name = file.name.split('/').next_back().unwrap();
            let counted = match rows {
                1000.. => format!("`{name}` {},{:03}", rows / 1000, rows % 1000),
                _ => format!("`{name}` {rows}"),
            };
            assert!(readme.contains(&counted), "{counted}");
        }
    }

    #[test]
    fn every_folder_holds_its_licence_and_the_attribution_is_in_the_readme() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                assert!(entry.path().join("LICENSE").is_file(), "{}", entry.path().display());
            }
        }
        assert!(include_str!("../data/README.md").contains(ATTRIBUTION.trim_end_matches('.')));
    }
}
