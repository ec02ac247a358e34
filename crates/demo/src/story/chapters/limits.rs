//! A question that takes too long.

use std::time::Duration;

use crate::{
    members::{COUNCIL, TRUST},
    story::{
        StoryError,
        stage::{Question, Stage},
        teller::spoken,
    },
};

/// How long the statement would have to go on working to count as not stopped, measured in processor time over a second.
const STILL_WORKING: Duration = Duration::from_millis(500);

/// A deadline passes, and the statement in the database ends with it.
pub(super) async fn a_deadline(stage: &mut Stage) -> Result<(), StoryError> {
    stage.teller.chapter("A deadline stops the database");
    stage.teller.say(
        "This statement compares every three encounters of the hospital, some 36 million times. The caller gives it half a \
         second.",
    );
    let question = Question {
        member: &COUNCIL,
        system: "planning",
        provider: &TRUST,
        method: "health.v1.Encounters/CountClusters",
        purpose: "service-planning",
        more: &["--timeout", "500ms"],
        request: "clusters.json",
    };
    let before = stage.trust.processor_time();
    let ran = stage.ask(&question, 6).await?;
    let after = stage.trust.processor_time();
    let reason = ["CONNECTOR_TIMEOUT", "DEADLINE_EXCEEDED"].iter().any(|reason| ran.stderr.contains(reason));
    stage.teller.check(
        !ran.succeeded && reason && ran.took < Duration::from_secs(3),
        &format!("given up after {}", spoken(ran.took)),
    );
    let record = stage.look_up(&TRUST, &ran.exchange()).await?;
    stage.teller.check(
        ["CONNECTOR_TIMEOUT", "CANCELLED"].iter().any(|reason| record["reason"] == *reason),
        "the trust's log says so too: the question was asked, and nothing was disclosed",
    );
    let (Some(before), Some(after)) = (before, after) else { return Ok(()) };
    tokio::time::sleep(Duration::from_secs(1)).await;
    let later = stage.trust.processor_time().unwrap_or(after);
    let (worked, idle) = (after.saturating_sub(before), later.saturating_sub(after));
    stage.teller.check(
        idle < STILL_WORKING,
        &format!(
            "the statement really stopped: the trust's gateway worked for {} until then, and for {} in the second after",
            spoken(worked),
            spoken(idle)
        ),
    );
    Ok(())
}
