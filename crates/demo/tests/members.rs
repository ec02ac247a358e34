//! The folders of the three members are what a gateway and an operator expect of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use drawbridge_demo::members::{self, ALL, COUNCIL, Folders, POLICE, TRUST};
use federation::{Directory, Federation, MemberId, SystemId};
use note::SigningKey;
use policy::{Ask, Denial, Loaded, Loader};

async fn written() -> (tempfile::TempDir, Folders) {
    let folder = tempfile::tempdir().unwrap();
    let folders = members::write(folder.path(), SystemTime::now()).await.unwrap();
    (folder, folders)
}

fn federation(folder: &Path) -> Federation {
    let file = folder.join("directory.note");
    let directory = Directory::parse(&file, &fs::read_to_string(&file).unwrap()).unwrap();
    Federation::load(directory, None).unwrap()
}

/// Loads a member's agreements as its gateway does.
fn agreements(root: &Path, member: &str) -> Loaded {
    let federation = federation(&root.join(member));
    let files: Vec<(PathBuf, String)> = fs::read_dir(root.join(member).join("agreements"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    let files = files.iter().map(|(path, text)| (path.clone(), text.as_str()));
    let keys = |member: &MemberId| federation.member_keys(member);
    Loader::new().load(files, &keys, &members::contracts().unwrap())
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

#[tokio::test]
async fn every_member_gets_the_folder_of_a_member() {
    let (_guard, folders) = written().await;
    for member in ALL {
        let folder = folders.root.join(member.folder);
        for inner in [
            "gateway.toml",
            "directory.note",
            "entry.note",
            "keys/gateway.key",
            "keys/log.key",
            "tls/authority.pem",
            "tls/gateway.pem",
            "tls/gateway.key.pem",
            "offline/member.key",
            "offline/authority.pem",
            "offline/authority.key.pem",
            "proto/health/v1/patients.proto",
            "proto/drawbridge/options/v1/options.proto",
            "legacy.db",
        ] {
            assert!(folder.join(inner).is_file(), "{}/{inner}", member.folder);
        }
        for system in member.systems {
            assert!(folder.join("tls/systems").join(format!("{system}.pem")).is_file(), "{system}");
        }
        assert_eq!(fs::read_dir(folder.join("data")).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn private_keys_are_for_their_owner_alone() {
    let (_guard, folders) = written().await;
    let mut keys = 0;
    for file in files_below(&folders.root) {
        let text = fs::read(&file).unwrap();
        let secret =
            ["PRIVATE KEY", "PRIVATE+KEY"].iter().any(|mark| text.windows(mark.len()).any(|at| at == mark.as_bytes()));
        if secret {
            keys += 1;
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        }
    }
    // Three note keys, one of the authority and one of the gateway each; four systems and the stranger.
    assert_eq!(keys, 3 * 5 + 4 + 1);
}

#[tokio::test]
async fn all_three_have_the_same_directory_and_it_names_their_keys_and_ports() {
    let (_guard, folders) = written().await;
    let federations = ALL.map(|member| federation(&folders.root.join(member.folder)));
    for (member, ports) in ALL.into_iter().zip(&folders.ports) {
        let key = SigningKey::read_file(&folders.root.join(member.folder).join("keys/gateway.key")).unwrap();
        for federation in &federations {
            let entry = federation.member(&member.id.parse().unwrap()).unwrap();
            let gateway = entry.gateway("main").unwrap();
            assert_eq!(gateway.address.as_ref().unwrap().to_string(), ports.links.to_string());
            assert_eq!(gateway.gateway_key, key.verifier());
            assert_eq!(entry.contracts.len(), member.services.len());
            assert!(!entry.is_development());
        }
    }
}

#[tokio::test]
async fn the_configurations_have_no_placeholders_left() {
    let (_guard, folders) = written().await;
    for member in ALL {
        let folder = folders.root.join(member.folder);
        for file in files_below(&folder.join("agreements")).into_iter().chain([folder.join("gateway.toml")]) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(!text.contains('@'), "{}: {text}", file.display());
        }
    }
}

#[tokio::test]
async fn every_agreement_is_signed_by_both_and_fits_the_contracts() {
    let (_guard, folders) = written().await;
    for (member, count) in [(&TRUST, 3), (&POLICE, 2), (&COUNCIL, 5)] {
        let loaded = agreements(&folders.root, member.folder);
        assert!(
            loaded.problems.is_empty(),
            "{:?}",
            loaded.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        );
        assert!(loaded.waiting.is_empty());
        assert_eq!(loaded.agreements.iter().len(), count, "{}", member.id);
    }
}

struct Question {
    system: &'static str,
    provider: &'static str,
    method: &'static str,
    purpose: &'static str,
}

fn ask(loaded: &Loaded, question: &Question, now: SystemTime) -> Result<Vec<String>, Denial> {
    let system: SystemId = question.system.parse().unwrap();
    let provider: MemberId = question.provider.parse().unwrap();
    let ask = Ask {
        consumer: system.member(),
        system: &system,
        provider: &provider,
        method: question.method,
        purpose: question.purpose,
        has_actor: true,
        has_case: true,
        has_justification: false,
    };
    loaded.agreements.permit(&ask, now).map(|permit| permit.plan.projection.withheld().to_vec())
}

#[tokio::test]
async fn the_questions_of_the_story_are_permitted_and_refused_as_told() {
    let (_guard, folders) = written().await;
    let now = SystemTime::now();
    let trust = agreements(&folders.root, "trust");
    let find = Question {
        system: "council.example/social-care",
        provider: "trust.example",
        method: "/health.v1.Patients/Find",
        purpose: "safeguarding",
    };
    assert_eq!(ask(&trust, &find, now).unwrap(), ["ethnicity", "hospital_number", "marital_status"]);
    let late = now + Duration::from_hours(366 * 24);
    assert!(matches!(ask(&trust, &find, late), Err(Denial::AgreementEnded { .. })));

    let purpose = Question { purpose: "council-tax", ..find };
    assert!(matches!(ask(&trust, &purpose, now), Err(Denial::WrongPurpose { .. })));

    let police = Question { system: "police.example/control-room", ..purpose };
    assert!(matches!(ask(&trust, &police, now), Err(Denial::NoAgreement(_))));

    let planning = Question {
        system: "council.example/planning",
        method: "/health.v1.Encounters/List",
        purpose: "service-planning",
        ..police
    };
    let withheld = ask(&trust, &planning, now).unwrap();
    assert!(withheld.contains(&"nhs_number".to_owned()) && withheld.contains(&"type.code".to_owned()), "{withheld:?}");
    assert!(!withheld.contains(&"number".to_owned()));
}
