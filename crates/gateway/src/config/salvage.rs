//! What a configuration says as far as it can be read: for who asks about a gateway that runs although its file is broken by now.

use std::{collections::BTreeMap, path::Path};

use problem::{Problem, TomlFile};
use serde::Deserialize as _;
use toml::{
    Table,
    de::{DeTable, Deserializer},
};

use super::{Config, ConfigFile, FORMAT, folder_of, layered, variables_of};

/// Settings without a default, in the root.
const WITHOUT_DEFAULT: [&str; 3] = ["format", "member", "gateway"];

/// A configuration, whatever is wrong in its file.
#[derive(Clone, Debug)]
pub struct Salvaged {
    /// What it says, with defaults in the place of what cannot be read. None where the file itself cannot be read.
    pub file: Option<ConfigFile>,
    /// Everything that is wrong, as [`ConfigFile::read`] tells it.
    pub problems: Vec<Problem>,
    /// Whether nothing was left out of `file` but keys that nobody knows.
    pub whole: bool,
}

impl Salvaged {
    /// Reads `file` as far as that goes, and lays the variables in `environment` over it where they fit.
    #[must_use]
    pub fn read(file: &Path, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let variables = variables_of(environment);
        let problems = match ConfigFile::read(file, variables.clone()) {
            Ok(file) => return Self { file: Some(file), problems: Vec::new(), whole: true },
            Err(problems) => problems,
        };
        let Ok(bytes) = std::fs::read(file) else { return Self { file: None, problems, whole: false } };
        salvaged(file, &String::from_utf8_lossy(&bytes), variables, problems)
    }
}

fn salvaged(file: &Path, text: &str, variables: BTreeMap<String, String>, mut problems: Vec<Problem>) -> Salvaged {
    let (toml, mut whole) = match TomlFile::parse(file, text) {
        Ok(toml) => (toml, true),
        Err(_) => match TomlFile::parse(file, without_errors(text)) {
            Ok(toml) => (toml, false),
            Err(_) => return Salvaged { file: None, problems, whole: false },
        },
    };
    let read = toml.salvage::<Config>(&WITHOUT_DEFAULT);
    if whole {
        // Of a text in which something had to be passed over, neither places nor what is missing mean anything.
        problems.extend(read.problems.into_iter().filter(|problem| !problems.contains(problem)).collect::<Vec<_>>());
    }
    whole = whole && read.whole;
    let Some((config, text)) = read.read else { return Salvaged { file: None, problems, whole: false } };
    whole = whole && config.format == FORMAT;
    let config = match TomlFile::parse(file, text) {
        Ok(plain) if !variables.is_empty() => match layered(file, &plain, variables.clone()) {
            Ok(config) => config,
            Err(more) => {
                whole = false;
                problems.extend(more.into_iter().filter(|problem| !problems.contains(problem)).collect::<Vec<_>>());
                config
            }
        },
        Ok(_) | Err(_) => config,
    };
    let overridden = variables.keys().cloned().collect();
    let file = ConfigFile { config, toml, folder: folder_of(file), overridden, variables };
    Salvaged { file: Some(file), problems, whole }
}

/// Returns a text that is no TOML without what makes it none.
fn without_errors(text: &str) -> String {
    let (table, _) = DeTable::parse_recoverable(text);
    let table = Table::deserialize(Deserializer::from(table)).unwrap_or_default();
    toml::to_string(&table).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "format = \"drawbridge.gateway/v1\"\nmember = \"county.example\"\ngateway = \"main\"\n\
                        [operations]\nlisten = \"127.0.0.1:7\"\n";

    fn read(text: &[u8], environment: &[(&str, &str)]) -> Salvaged {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, text).unwrap();
        Salvaged::read(&file, environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn whatever_is_wrong_the_rest_is_read() {
        // What follows, how many problems, and whether only unknown keys were left out.
        for (more, problems, whole) in [
            ("", 0, true),
            ("unknwon = 3\n[limits]\nmesage = 1\n", 2, true),
            ("[limits]\nexchanges = \"many\"\nstreams = \"some\"\n", 2, false),
            ("[links]\n[[binding]]\nconnector = { kind = \"grpc\" }\n", 2, false),
            ("[limits\nexchanges = 1\n", 1, false),
            ("[clients]\nlisten = \"127.0.0.1:1\n", 1, false),
            ("= 3\n", 1, false),
            ("member = \"other.example\"\n[operations]\nlisten = \"127.0.0.1:8\"\n", 1, false),
        ] {
            let salvaged = read(format!("{GOOD}{more}").as_bytes(), &[]);
            assert_eq!((salvaged.problems.len(), salvaged.whole), (problems, whole), "{more}: {salvaged:?}");
            let config = salvaged.file.unwrap().config;
            let read = (config.member.as_str(), config.operations.listen.port());
            assert_eq!(read, ("county.example", 7), "{more}");
        }
    }

    #[test]
    fn what_has_no_default_is_left_blank() {
        let salvaged = read(GOOD.replace("member = \"county.example\"\n", "").replace("\"main\"", "3").as_bytes(), &[]);
        assert_eq!((salvaged.problems.len(), salvaged.whole), (2, false), "{salvaged:?}");
        let config = salvaged.file.unwrap().config;
        assert_eq!((config.member.as_str(), config.gateway.as_str(), config.operations.listen.port()), ("", "", 7));
        assert!(Salvaged::read(Path::new("none/gateway.toml"), []).file.is_none());
    }

    #[test]
    fn the_environment_lies_over_what_could_be_read_where_it_fits() {
        let text = format!("{GOOD}mesage = 1\n");
        let salvaged = read(text.as_bytes(), &[("DRAWBRIDGE__OPERATIONS__LISTEN", "127.0.0.1:8")]);
        assert_eq!(salvaged.file.unwrap().config.operations.listen.port(), 8);
        let salvaged = read(text.as_bytes(), &[("DRAWBRIDGE__OPERATIONS__LISTEN", "nowhere")]);
        assert_eq!((salvaged.problems.len(), salvaged.whole), (2, false), "{salvaged:?}");
        assert_eq!(salvaged.file.unwrap().config.operations.listen.port(), 7);
        let salvaged = read(&[GOOD.as_bytes(), b"# \xff\n"].concat(), &[]);
        assert_eq!((salvaged.problems.len(), salvaged.file.unwrap().config.operations.listen.port()), (1, 7));
    }
}
