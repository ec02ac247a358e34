//! Who is on stage, and what the reader can do when the story is over.

use std::path::Path;

use sqlx::{AssertSqlSafe, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{
    data::ATTRIBUTION,
    members::{ALL, COUNCIL, Member, POLICE, TRUST},
    story::{
        StoryError,
        command::{CommandLine, quoted},
        stage::Stage,
        teller::{grouped, spoken},
    },
};

/// What the legacy systems hold, by member: the table, and the word for its rows.
const TABLES: [(&Member, &[(&str, &str)]); 3] = [
    (&TRUST, &[("PATMST", "patients"), ("ENCTR", "encounters"), ("CONDN", "conditions"), ("OBSN", "observations")]),
    (&POLICE, &[("FRC", "forces"), ("NBH", "neighbourhoods"), ("STN", "stations")]),
    (&COUNCIL, &[("LAREG", "authorities"), ("LANAME", "names"), ("LACODE", "codes")]),
];

/// Introduces the members, checks their configurations and starts their gateways.
pub(super) async fn tell(stage: &mut Stage) -> Result<(), StoryError> {
    stage.teller.headline("Drawbridge: three members ask one another's systems");
    stage.teller.say(
        "Each member runs a gateway of its own, with its own keys, its own log and its own certificate authority, in front of \
         a database that was there before. There is nothing between them and nobody above them.",
    );
    stage.teller.blank();
    for (member, tables) in TABLES {
        let mut held = Vec::new();
        for (table, word) in tables {
            held.push(format!("{} {word}", grouped(rows(&stage.place.folder, member, table).await?)));
        }
        stage.teller.fact(&format!("{}, {}: {}", member.id, lower_first(member.name), held.join(", ")));
    }
    stage.teller.blank();
    stage.teller.say(
        "The people are made up (Synthea), the places are real. Whatever the story types can be typed in a second terminal, \
         as long as the gateways run:",
    );
    let folder = stage.place.folder.display().to_string();
    stage.teller.plain_command(&format!("cd {}", quoted(&folder)));
    let binary = stage.place.binary.display().to_string();
    stage.teller.plain_command(&format!("alias drawbridge={}", quoted(&binary)));

    stage.teller.chapter("Three gateways start");
    for member in ALL {
        let config = format!("{}/gateway.toml", member.folder);
        let ran = stage.run(&CommandLine::new(["check", &config]), 3).await?;
        if !ran.succeeded {
            stage.teller.broke(&format!("{} would not start with this configuration", member.id));
        }
    }
    for member in ALL {
        stage.teller.command(CommandLine::new(["run", "--config", &format!("{}/gateway.toml", member.folder)]));
    }
    let (trust, police, council) = tokio::try_join!(stage.trust.start(), stage.police.start(), stage.council.start())?;
    let ids = [stage.trust.id(), stage.police.id(), stage.council.id()];
    for ((member, took), id) in ALL.into_iter().zip([trust, police, council]).zip(ids) {
        let id = id.unwrap_or_default();
        stage.teller.fact(&format!("{} serves after {}, as process {id}", member.id, spoken(took)));
    }
    Ok(())
}

async fn rows(root: &Path, member: &Member, table: &str) -> Result<u64, StoryError> {
    let file = root.join(member.folder).join("legacy.db");
    let failed = |error: sqlx::Error| StoryError::Command(std::io::Error::other(error));
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let mut legacy = SqliteConnection::connect_with(&options).await.map_err(failed)?;
    let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    let rows: i64 = sqlx::query_scalar(sql).fetch_one(&mut legacy).await.map_err(failed)?;
    legacy.close().await.map_err(failed)?;
    Ok(rows.unsigned_abs())
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}

/// Counts the chapters that ended as told.
pub(super) fn summary(stage: &mut Stage) {
    let broken = stage.teller.broken().to_vec();
    let told = stage.teller.chapters();
    stage.teller.blank();
    let (good, text) = if broken.is_empty() {
        (true, format!("all {told} chapters ended as told"))
    } else {
        (false, format!("{} of {told} chapters did not end as told: {}", broken.len(), broken.join("; ")))
    };
    stage.teller.verdict(good, &text);
    stage.teller.say(ATTRIBUTION);
}

/// Says what can be tried while the gateways stay up.
pub(crate) fn invite(stage: &mut Stage, kept: bool) {
    let clients = stage.folders.ports[2].clients;
    let teller = &mut stage.teller;
    teller.chapter("Now you");
    teller.say("The gateways stay up. Ask a question:");
    teller.plain_command(
        "drawbridge call --config council/gateway.toml --system planning police.example police.v1.Stations/List \
         --purpose community-safety @requests/kent.json",
    );
    teller.say("Ask it in Python, with the stubs that protoc makes:");
    teller.plain_command("python3 -m venv python && python/bin/pip install grpcio grpcio-tools");
    teller.plain_command(
        "python/bin/python -m grpc_tools.protoc -I council/proto --python_out=python --grpc_python_out=python \
         health/v1/patients.proto drawbridge/options/v1/options.proto",
    );
    teller.plain_command(&format!("PYTHONPATH=python python/bin/python ask.py {clients}"));
    teller.say("Read a log, and prove a record of it:");
    teller.plain_command("drawbridge log list --data trust/data");
    teller.plain_command("drawbridge log show --data trust/data 1");
    teller.plain_command("drawbridge log prove --data trust/data 1");
    teller.plain_command("drawbridge log verify --data trust/data");
    teller.say("Check a receipt with nothing but the list of members:");
    teller.plain_command("drawbridge receipt verify receipts/patient.receipt --directory police/directory.note");
    teller.say("Have a refusal explained:");
    teller.plain_command("drawbridge explain WRONG_PURPOSE");
    teller.blank();
    teller.say(if kept {
        "Ctrl-C ends the gateways; the folder stays."
    } else {
        "Ctrl-C ends the gateways and removes the folder."
    });
}
