//! Questions that are answered.

use serde_json::Value;

use crate::{
    members::{COUNCIL, ENCOUNTERS, NEIGHBOURHOODS, POLICE, REQUESTED_NHS_NUMBER, TRUST},
    story::{
        StoryError,
        command::{CommandLine, Ran},
        stage::{Question, Stage},
        teller::{grouped, spoken},
    },
};

/// What social workers say with each question: who they are, and in which case they ask.
pub(super) const SOCIAL_WORKER: [&str; 6] = ["--actor", "sw-1042", "--role", "social-worker", "--case", "CASE-2041"];

/// Who the child is.
pub(super) const PATIENT: Question = Question {
    member: &COUNCIL,
    system: "social-care",
    provider: &TRUST,
    method: "health.v1.Patients/Find",
    purpose: "safeguarding",
    more: &SOCIAL_WORKER,
    request: "patient.json",
};

/// Fields of a patient that the agreement does not name, in the words of JSON and of the contract.
const WITHHELD: [(&str, &str); 3] =
    [("ethnicity", "ethnicity"), ("hospitalNumber", "hospital_number"), ("maritalStatus", "marital_status")];

/// The patient as the legacy system has them, columns one after another.
const LEGACY_PATIENT: &str = "SELECT NHS_NO || ' | ' || SURNM || ' | ' || DOB || ' | ' || SEX_CD || ' | ' || MARST_CD || ' | ' || ETH_CD \
                              FROM PATMST ORDER BY PAT_NO LIMIT 1";

/// One question about one person, with what is withheld, and the receipt.
pub(super) async fn one_person(stage: &mut Stage) -> Result<(), StoryError> {
    stage.teller.chapter("A social worker looks up one child");
    let row = stage.legacy(&TRUST, LEGACY_PATIENT).await?;
    stage.teller.say(
        "This is how the trust's own system has a child (table PATMST: NHS_NO, SURNM, DOB, SEX_CD, MARST_CD, \
         ETH_CD):",
    );
    stage.teller.output(&row, 1);
    stage.teller.say(
        "The council's social care system asks its own gateway, naming purpose, person and case. The question crosses one \
         link to the trust's gateway, and becomes one SQL statement there.",
    );
    let command = PATIENT.command().with(["--verbose", "--receipt", "receipts/patient.receipt"]);
    let ran = stage.run(&command, 30).await?;
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    let born = answer["birthDate"].as_str().unwrap_or_default().replace('-', "");
    let family = answer["name"]["family"].as_str().unwrap_or_default();
    let same = row.starts_with(&format!("{REQUESTED_NHS_NUMBER} | {family} | {born} |"));
    stage.teller.check(
        ran.succeeded && answer["nhsNumber"] == REQUESTED_NHS_NUMBER && same,
        "the same child, in the words of the contract",
    );
    let absent = WITHHELD.iter().all(|(json, _)| answer.get(*json).is_none());
    let reported = WITHHELD.iter().all(|(_, path)| ran.stderr.contains(path));
    stage.teller.check(
        absent && reported,
        "ethnicity, marital status and the hospital's own number are not in the answer, and the caller is told so: the \
         agreement does not name them, so they never left the trust",
    );
    recorded(stage, &ran).await?;
    stage.teller.say("The receipt proves all of it offline, to whoever has the list of members:");
    let verify =
        CommandLine::new(["receipt", "verify", "receipts/patient.receipt", "--directory", "police/directory.note"]);
    let verified = stage.run(&verify, 20).await?;
    stage.teller.check(
        verified.succeeded && verified.stdout.contains(&ran.exchange()),
        "even the police, who had no part in it, can verify the receipt",
    );
    Ok(())
}

/// Whether both logs tell that the exchange was answered, for the same purpose and case.
async fn recorded(stage: &mut Stage, ran: &Ran) -> Result<(), StoryError> {
    let exchange = ran.exchange();
    let asked = stage.look_up(&COUNCIL, &exchange).await?;
    let answered = stage.look_up(&TRUST, &exchange).await?;
    let told = |record: &Value| {
        [("outcome", "answered"), ("purpose", "safeguarding"), ("actor", "sw-1042"), ("case", "CASE-2041")]
            .iter()
            .all(|(key, value)| record[*key] == *value)
    };
    stage.teller.check(
        told(&asked) && told(&answered),
        "both gateways signed and recorded it before the answer was handed over: who, what, why, and in which case",
    );
    Ok(())
}

/// A stream of every row of the largest table.
pub(super) async fn every_row(stage: &mut Stage) -> Result<(), StoryError> {
    stage.teller.chapter("Every row of the largest table");
    stage
        .teller
        .say("The council's planners read the gazetteer of the police, from the first neighbourhood to the last.");
    let question = Question {
        member: &COUNCIL,
        system: "planning",
        provider: &POLICE,
        method: "police.v1.Neighbourhoods/List",
        purpose: "community-safety",
        more: &["--verbose"],
        request: "all.json",
    };
    let ran = stage.ask(&question, 2).await?;
    let rows = rows_of(&ran);
    stage.teller.check(
        ran.succeeded && rows == NEIGHBOURHOODS,
        &format!("{} rows, one message each, in {}", grouped(rows), spoken(ran.took)),
    );
    let record = stage.look_up(&POLICE, &ran.exchange()).await?;
    stage.teller.check(record["messages"] == rows, "the log of the police has the same number");
    Ok(())
}

/// A stream whose agreement releases by classification.
pub(super) async fn nobody_named(stage: &mut Stage) -> Result<(), StoryError> {
    stage.teller.chapter("Counting without naming");
    stage.teller.say(
        "The same planners may read what the hospital does, and not to whom: their agreement releases what the contract \
         classifies as public or official, and nothing personal.",
    );
    let question = Question {
        member: &COUNCIL,
        system: "planning",
        provider: &TRUST,
        method: "health.v1.Encounters/List",
        purpose: "service-planning",
        more: &["--verbose"],
        request: "all.json",
    };
    let ran = stage.ask(&question, 2).await?;
    let personal = ["nhsNumber", "type", "reason"].iter().any(|field| ran.stdout.contains(&format!("\"{field}\"")));
    stage.teller.check(
        ran.succeeded && rows_of(&ran) == ENCOUNTERS && !personal,
        &format!("{} encounters, and no NHS number, diagnosis or treatment among them", grouped(rows_of(&ran))),
    );
    Ok(())
}

fn rows_of(ran: &Ran) -> u64 {
    ran.stdout.lines().filter(|line| !line.trim().is_empty()).count() as u64
}
