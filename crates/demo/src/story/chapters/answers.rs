//! Questions that are answered.

use serde_json::Value;

use crate::{
    members::{COUNCIL, POLICE, REQUESTED_NHS_NUMBER, TRUST},
    story::{
        StoryError,
        command::CommandLine,
        stage::{Question, Stage},
        teller::{grouped, spoken},
    },
};

/// What social workers say with each question: who they are, and in which case they ask.
pub(super) const SOCIAL_WORKER: [&str; 4] = ["--actor", "sw-1042;role=social-worker", "--case", "CASE-2041"];

/// Fields of a patient that the agreement does not name, in the words of JSON and of the contract.
const WITHHELD: [(&str, &str); 3] =
    [("ethnicity", "ethnicity"), ("hospitalNumber", "hospital_number"), ("maritalStatus", "marital_status")];

/// One question about one person, with what is withheld, and the receipt.
pub(super) async fn one_person(stage: &mut Stage) -> Result<(), StoryError> {
    stage.teller.chapter("A social worker looks up one child");
    stage.teller.say(
        "The council's social care system asks its own gateway, naming purpose, person and case. The question crosses one \
         link to the trust's gateway and becomes one SQL statement there.",
    );
    let question = Question {
        member: &COUNCIL,
        system: "social-care",
        provider: &TRUST,
        method: "health.v1.Patients/Find",
        purpose: "safeguarding",
        more: &SOCIAL_WORKER,
        request: "patient.json",
    };
    let command = question.command().with(["--receipt", "receipts/patient.receipt"]);
    let ran = stage.run(&command, 30).await?;
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    let number = answer.get("nhsNumber").and_then(Value::as_str);
    stage.teller.check(
        ran.succeeded && number == Some(REQUESTED_NHS_NUMBER),
        &format!("answered in {}, start of the command included", spoken(ran.took)),
    );
    let absent = WITHHELD.iter().all(|(json, _)| answer.get(*json).is_none());
    let reported = WITHHELD.iter().all(|(_, path)| ran.stderr.contains(path));
    stage.teller.check(
        absent && reported,
        "ethnicity, marital status and the hospital's own number are not in the answer, and the caller is told so: the \
         agreement does not name them, so they never left the trust",
    );
    stage.teller.say("Both gateways signed and recorded it before the answer was handed over. The receipt proves it offline:");
    let verify = CommandLine::new(["receipt", "verify", "receipts/patient.receipt", "--directory", "police/directory.note"]);
    let verified = stage.run(&verify, 12).await?;
    stage.teller.check(verified.succeeded, "even the police, who had no part in it, can verify the receipt");
    Ok(())
}

/// A stream of every row of the largest table.
pub(super) async fn every_row(stage: &mut Stage) -> Result<(), StoryError> {
    stage.teller.chapter("Every row of the largest table");
    stage.teller.say("The council's planners read the gazetteer of the police, from the first neighbourhood to the last.");
    let question = Question {
        member: &COUNCIL,
        system: "planning",
        provider: &POLICE,
        method: "police.v1.Neighbourhoods/List",
        purpose: "community-safety",
        more: &[],
        request: "all.json",
    };
    let ran = stage.run(&question.command(), 2).await?;
    let rows = ran.stdout.lines().filter(|line| !line.trim().is_empty()).count() as u64;
    stage.teller.check(
        ran.succeeded && rows == crate::members::NEIGHBOURHOODS,
        &format!("{} rows, one message each, in {}", grouped(rows), spoken(ran.took)),
    );
    let counted = stage.records(&POLICE, &["--method", question.method]).await?;
    let recorded = counted.last().and_then(|record| record.get("messages")).and_then(Value::as_u64);
    stage.teller.check(recorded == Some(rows), "the log of the police has the same number");
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
        more: &[],
        request: "all.json",
    };
    let ran = stage.run(&question.command(), 2).await?;
    let rows = ran.stdout.lines().filter(|line| !line.trim().is_empty()).count() as u64;
    let personal = ["nhsNumber", "type", "reason"].iter().any(|field| ran.stdout.contains(&format!("\"{field}\"")));
    stage.teller.check(
        ran.succeeded && rows > 0 && !personal,
        &format!("{} encounters, and not one NHS number, diagnosis or treatment among them", grouped(rows)),
    );
    Ok(())
}
