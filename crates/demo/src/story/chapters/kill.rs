//! A gateway dies in the middle of a stream.

use std::time::{Duration, Instant};

use crate::{
    members::{COUNCIL, ENCOUNTERS, TRUST},
    story::{
        StoryError,
        chapters::answers,
        command::{CommandLine, exchange_in},
        stage::{Question, Stage},
        teller::{grouped, spoken},
    },
};

/// The reader pauses after so many rows.
const READ: u64 = 1_000;
/// Longest wait for a record of progress: a gateway writes one each second.
const NOTED_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait until the stream stands still.
const STILL_WITHIN: Duration = Duration::from_secs(15);

/// The reader pauses, flow control holds the stream, the provider's gateway is killed, starts again, and both logs are held
/// against each other.
pub(super) async fn in_mid_stream(stage: &mut Stage) -> Result<(), StoryError> {
    stage.teller.chapter("A gateway is killed in the middle of a stream");
    stage
        .teller
        .say("The planners ask for every encounter beside every other one. They read a thousand rows, and pause.");
    let command = QUESTION.command();
    stage.teller.command(&command);
    let mut stream = command.start(&stage.place)?;
    let mut read = 0;
    while read < READ {
        match stream.line().await? {
            Some(line) if read < 2 => stage.teller.output(&line, 1),
            Some(_) => {}
            None => break,
        }
        read += 1;
    }
    stage.teller.check(
        read == READ,
        &format!("{} rows read; the rest waits in the database, held back through both gateways", grouped(read)),
    );
    stands_still(stage).await;
    let noted = progress(stage).await?;
    stage.teller.check(
        noted > 0,
        &format!("the trust has {} rows on record already, though nothing has ended", grouped(noted)),
    );

    let id = stage.trust.id().unwrap_or_default();
    stage.teller.plain_command(&format!("kill -KILL {id}"));
    stage.trust.kill().await?;
    let (rest, status, complaint) = stream.finish().await?;
    stage.teller.output(&complaint, 6);
    stage.teller.check(
        !status.success() && read + rest < ENCOUNTERS * (ENCOUNTERS - 1),
        &format!(
            "the reader gets the {} rows that were on their way, then an error: nobody takes a part for the whole",
            grouped(rest)
        ),
    );
    afterwards(stage, &exchange_in(&complaint), noted).await
}

/// The gateway starts again, and both sides are asked what they know.
async fn afterwards(stage: &mut Stage, exchange: &str, noted: u64) -> Result<(), StoryError> {
    stage.teller.command(CommandLine::new(["run", "--config", "trust/gateway.toml"]));
    let took = stage.trust.start().await?;
    stage.teller.fact(&format!("the trust's gateway starts again by itself, and serves after {}", spoken(took)));
    let record = stage.look_up(&TRUST, exchange).await?;
    let settled = record["outcome"] == "unanswered" && record["messages"].as_u64().is_some_and(|rows| rows >= noted);
    stage.teller.check(
        settled,
        "the first thing that it did was to settle what the kill had cut off: unanswered, after the rows on record",
    );
    let again = stage.ask(&answers::PATIENT, 0).await?;
    stage.teller.check(again.succeeded, "and it answers again, over a new link");
    stage.teller.say("Do the two sides still say the same?");
    let compare = CommandLine::new(["log", "compare", "council/data", "trust/data"]);
    let compared = stage.run(&compare, 20).await?;
    stage.teller.check(
        compared.succeeded && compared.stdout.contains(exchange),
        "both logs tell the same exchanges, and the one that was cut off is named by both",
    );
    Ok(())
}

/// Every encounter beside every other one.
const QUESTION: Question = Question {
    member: &COUNCIL,
    system: "planning",
    provider: &TRUST,
    method: "health.v1.Encounters/Compare",
    purpose: "service-planning",
    more: &[],
    request: "all.json",
};

/// Waits for a record of progress in the trust's log. Returns how many rows it counts.
async fn progress(stage: &mut Stage) -> Result<u64, StoryError> {
    let started = Instant::now();
    loop {
        let records = stage.records(&TRUST, &["--method", QUESTION.method, "--all-kinds"]).await?;
        let noted =
            records.iter().filter(|record| record["kind"] == "progress").filter_map(|r| r["messages"].as_u64()).max();
        if noted.is_some() || started.elapsed() > NOTED_WITHIN {
            return Ok(noted.unwrap_or_default());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the trust's gateway has nothing to do any more: what fits into the buffers has been sent.
async fn stands_still(stage: &mut Stage) {
    let started = Instant::now();
    let Some(mut last) = stage.trust.processor_time() else { return };
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let Some(now) = stage.trust.processor_time() else { return };
        if now.saturating_sub(last) <= Duration::from_millis(20) {
            stage.teller.fact("the trust's gateway has nothing to do: it waits for the reader");
            return;
        }
        if started.elapsed() > STILL_WITHIN {
            stage.teller.broke("the trust's gateway went on working although nobody reads");
            return;
        }
        last = now;
    }
}
