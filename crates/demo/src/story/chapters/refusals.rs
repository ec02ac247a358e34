//! Questions that are refused. A refusal is signed and recorded, as an answer is.

use std::time::{Duration, Instant};

use crate::{
    members::{COUNCIL, POLICE, TRUST},
    story::{
        StoryError,
        chapters::answers::{PATIENT, SOCIAL_WORKER},
        command::{CommandLine, Ran},
        stage::{Question, Stage},
        teller::spoken,
    },
};

/// Longest time until an end note has reached both gateways.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Nobody agreed to this.
pub(super) async fn without_agreement(stage: &mut Stage) -> Result<(), StoryError> {
    stage.teller.chapter("Refused: nobody agreed to this");
    stage
        .teller
        .say("The control room of the police asks the hospital who somebody is. There is no agreement about that.");
    let question = Question {
        member: &POLICE,
        system: "control-room",
        provider: &TRUST,
        method: "health.v1.Patients/Find",
        purpose: "incident-response",
        more: &[],
        request: "patient.json",
    };
    let ran = stage.ask(&question, 6).await?;
    refused(stage, &ran, "NO_AGREEMENT");
    let record = stage.look_up(&POLICE, &ran.exchange()).await?;
    let here = record["reason"] == "NO_AGREEMENT" && record["hop"] == "consumer";
    stage
        .teller
        .check(here, "it is in the log of the police, whose own gateway refused: the question never left the house");
    Ok(())
}

/// The right question for the wrong reason.
pub(super) async fn for_another_purpose(stage: &mut Stage) -> Result<(), StoryError> {
    stage.teller.chapter("Refused: the wrong purpose");
    stage
        .teller
        .say("The social care system may look up a child, for safeguarding. It may not do so to collect council tax.");
    let question = Question {
        member: &COUNCIL,
        system: "social-care",
        provider: &TRUST,
        method: "health.v1.Patients/Find",
        purpose: "council-tax",
        more: &SOCIAL_WORKER,
        request: "patient.json",
    };
    let ran = stage.ask(&question, 6).await?;
    refused(stage, &ran, "WRONG_PURPOSE");
    let record = stage.look_up(&COUNCIL, &ran.exchange()).await?;
    let here = record["reason"] == "WRONG_PURPOSE" && record["actor"] == "sw-1042" && record["case"] == "CASE-2041";
    stage.teller.check(here, "the attempt is in the council's log, with the person and the case that were named");
    Ok(())
}

/// An agreement is ended while the gateways run.
pub(super) async fn after_the_end(stage: &mut Stage) -> Result<(), StoryError> {
    stage.teller.chapter("Refused: the agreement has ended");
    stage.teller.say("The police may ask the council whose road it is.");
    let question = Question {
        member: &POLICE,
        system: "control-room",
        provider: &COUNCIL,
        method: "council.v1.Authorities/Find",
        purpose: "incident-response",
        more: &[],
        request: "authority.json",
    };
    let command = question.command();
    let ran = stage.run(&command, 20).await?;
    stage.teller.check(ran.succeeded, "answered");
    stage.teller.say("Then the council ends the agreement. It needs nobody's consent, only its own key:");
    let end = CommandLine::new(["agreement", "end", "council/agreements/police-council-roads.note"])
        .with(["--key", "council/offline/member.key"]);
    let ended = stage.run(&end, 6).await?;
    stage
        .teller
        .check(ended.succeeded, "the end note is signed, and lies where the council's gateway looks every second");
    let started = Instant::now();
    let last = loop {
        let ran = command.run(&stage.place).await?;
        if !ran.succeeded || started.elapsed() > END_WITHIN {
            break ran;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    stage.teller.command(&command);
    stage.teller.output(&last.stderr, 6);
    refused(stage, &last, "AGREEMENT_ENDED");
    let took = started.elapsed();
    let record = stage.look_up(&POLICE, &last.exchange()).await?;
    stage.teller.check(
        took < END_WITHIN && record["reason"] == "AGREEMENT_ENDED",
        &format!("that took {}, without a restart, and it is on record", spoken(took)),
    );
    Ok(())
}

/// Certificates of others are of no use at this member's door.
pub(super) async fn a_strangers_certificate(stage: &mut Stage) -> Result<(), StoryError> {
    stage.teller.chapter("Turned away: somebody else's certificate");
    for (why, folder, reason) in [
        (
            "A system of the police comes to the council's gateway, with a good certificate of its own authority:",
            "police/tls/systems/control-room",
            "`spiffe://police.example/system/control-room` is not of this gateway's member",
        ),
        (
            "Somebody makes an authority that calls itself council.example, and has it issue a certificate for the council's \
             own social care system:",
            "stranger/social-care",
            "`spiffe://council.example/system/social-care` was not issued under the roots of `council.example`",
        ),
    ] {
        stage.teller.say(why);
        let files = [format!("{folder}.pem"), format!("{folder}.key.pem")];
        let with = ["--certificate", &files[0], "--key", &files[1]];
        let ran = stage.run(&PATIENT.command().with(with), 4).await?;
        stage.teller.command("grep 'certificate was refused' council/gateway.out | tail -1");
        let said = council_says(stage, reason).await?;
        stage.teller.output(said.as_deref().unwrap_or_default(), 1);
        stage.teller.check(
            !ran.succeeded && ran.stdout.is_empty() && said.is_some(),
            "turned away in the TLS handshake: nothing was asked, and the council's gateway says why",
        );
    }
    Ok(())
}

/// Waits until the application log of the council's gateway says that a certificate was refused for `reason`, and returns it.
async fn council_says(stage: &Stage, reason: &str) -> Result<Option<String>, StoryError> {
    for _ in 0..20 {
        let said = std::fs::read_to_string(stage.council.words_file())?;
        let line = said.lines().rfind(|line| line.contains("certificate was refused") && line.contains(reason));
        if let Some(line) = line {
            return Ok(Some(line.to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(None)
}

/// Tells whether a call was refused for `reason`.
fn refused(stage: &mut Stage, ran: &Ran, reason: &str) {
    let holds = !ran.succeeded && ran.stdout.is_empty() && ran.stderr.contains(reason);
    stage.teller.check(holds, &format!("refused with {reason}"));
}
