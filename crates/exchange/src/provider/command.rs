//! A command: carried out once for each key, whoever asks how often, and whatever is killed in between.
//!
//! The intent is durable before the legacy system is asked. From then on the caller's leaving stops nothing: who asks again with the
//! same key gets the answer that is kept. What nobody can know is said to be unknown, and never tried again.

use std::time::Duration;

use proto::records::{CommandStep, KeptAnswer, Kind};
use records::{Command, CommandKey, Commands, ExchangeId, Taken};

use super::{
    Provider, Refused, Whole,
    answer::{Answer, Answered, answered_or_refused, unusable},
    not_recorded,
    permit::Permitted,
};
use crate::{
    application::Said,
    deadline,
    house::Rules,
    ports::{CommandId, LegacyError, Remembered},
    refusal::{Hop, Reason, Refusal, Status},
    trace::Verb,
};

/// How long after its deadline a connector may still say what became of a command: to wait for the end of a commit.
const LAST_WORD: Duration = Duration::from_secs(10);

/// How long after it began a command may be looked up in its legacy system, in milliseconds. Whoever keeps keys there keeps them longer.
const MEMORY: u64 = 24 * 60 * 60 * 1000;

/// A key that this exchange has taken. Whatever ends it without a word leaves the key unknown.
struct Hold<'a> {
    commands: &'a Commands,
    key: CommandKey,
    said: bool,
}

impl Hold<'_> {
    fn says(mut self, step: CommandStep) {
        self.said = true;
        match step {
            CommandStep::Done => self.commands.done(&self.key),
            CommandStep::Freed => self.commands.freed(&self.key),
            CommandStep::Unknown | CommandStep::Taken | CommandStep::Unspecified => self.commands.unknown(&self.key),
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if !self.said {
            self.commands.unknown(&self.key);
        }
    }
}

impl Provider {
    /// Carries a command out, or says what came of it when it was asked before.
    pub(super) async fn command(&self, permitted: Box<Permitted>, command: Command) -> Result<Whole, Box<Refused>> {
        let refuse = |reason, told: String| Refusal::new(reason, Hop::Provider, told);
        let mut permitted = permitted;
        let taken = match self.commands.take(&command, permitted.verified.account.id) {
            Taken::Unknown(by) => self.found_out(&mut permitted, &command, by).await,
            known @ (Taken::Free | Taken::Running(_) | Taken::Done(_) | Taken::Reused(_)) => known,
        };
        match taken {
            Taken::Free => self.carry_out(permitted, command).await,
            Taken::Done(by) => self.repeat(permitted, &command.key, by).await,
            Taken::Running(by) => {
                let told = format!("the exchange {by} carries out the command of this key right now");
                Err(permitted.verified.refuse(refuse(Reason::InProgress, told)))
            }
            Taken::Unknown(by) => {
                let told = format!(
                    "the exchange {by} began the command of this key, and nobody can say whether it was done; it is not tried again"
                );
                Err(permitted.verified.refuse(refuse(Reason::Unanswered, told).unknown()))
            }
            Taken::Reused(by) => {
                let told = format!("the exchange {by} used this key for another request");
                Err(permitted.verified.refuse(refuse(Reason::KeyReused, told)))
            }
        }
    }

    /// Says what became of a command whose end was not known, by what the legacy system remembers.
    async fn found_out(&self, permitted: &mut Permitted, command: &Command, by: ExchangeId) -> Taken {
        let until = deadline::reserve(permitted.deadline());
        let looked = async {
            let Some(_alone) = self.house.enquiries.turn().await else { return Remembered::NotNow };
            self.look_up(&permitted.verified.rules, permitted.method.path(), &command.key, by).await
        };
        let remembered = tokio::select! {
            biased;
            said = looked => said,
            () = deadline::wait(until) => Remembered::NotNow,
        };
        match remembered {
            Remembered::Done => {
                note(&mut permitted.verified.account.private, command, CommandStep::Done);
                Taken::Done(by)
            }
            Remembered::NotDone => self.commands.take(command, permitted.verified.account.id),
            Remembered::NotNow | Remembered::Nothing => Taken::Unknown(by),
        }
    }

    /// Says what the legacy system remembers of a command whose end is not known, unless it is asked about one already.
    pub(super) async fn remembered(&self, rules: &Rules, path: &str, key: &CommandKey, by: ExchangeId) -> Remembered {
        let Some(_alone) = self.house.enquiries.turn_now() else { return Remembered::NotNow };
        self.look_up(rules, path, key, by).await
    }

    /// Asks the legacy system whether a command was carried out, and takes down what it says.
    async fn look_up(&self, rules: &Rules, path: &str, key: &CommandKey, by: ExchangeId) -> Remembered {
        // Later it may have forgotten what it did.
        if self.house.millis().abs_diff(by.time()) >= MEMORY {
            return Remembered::Nothing;
        }
        let remembered = rules.legacy.remembers(path, CommandId::of(key, by)).await;
        if matches!(remembered, Remembered::Done | Remembered::NotDone) {
            self.commands.resolve(key, by, remembered == Remembered::Done);
        }
        remembered
    }

    async fn carry_out(&self, mut permitted: Box<Permitted>, command: Command) -> Result<Whole, Box<Refused>> {
        let hold = Hold { commands: &self.commands, key: command.key, said: false };
        permitted.verified.account.begin(Verb::Record);
        // Of a copy: what is refused has taken no key.
        let mut intent = permitted.verified.account.clone();
        note(&mut intent.private, &command, CommandStep::Taken);
        if let Err(error) = self.house.write(intent.record(&self.house, Kind::Intent), None).await {
            hold.says(CommandStep::Freed);
            return Err(permitted.verified.refuse(not_recorded(&error)));
        }
        permitted.verified.account.begin(Verb::Answer);
        let (result, step) = self.ask_once(&permitted).await;
        let result = result.and_then(|answer| answer.with_metadata(&permitted).map_err(Refusal::unknown));
        if let (Ok(answer), CommandStep::Done) = (&result, step) {
            self.answers.keep(&command.key, kept(permitted.verified.account.id, answer)).await;
        }
        let mut answered = Answered { permitted, result };
        note(&mut answered.permitted.verified.account.private, &command, step);
        let whole = self.settle(answered).await;
        // Without a durable record the log says no more than that it was begun.
        hold.says(if whole.settled.index.is_some() { step } else { CommandStep::Unknown });
        Ok(whole)
    }

    /// Puts the command to the legacy system, and says how much is known of what it did.
    async fn ask_once(&self, permitted: &Permitted) -> (Result<Answer, Refusal>, CommandStep) {
        let until = deadline::reserve(permitted.deadline());
        let last = until.and_then(|until| until.checked_add(LAST_WORD));
        let asked = tokio::select! {
            biased;
            asked = self.only_answer(permitted, until) => asked,
            () = deadline::wait(last) => Err(LegacyError::Timeout),
        };
        match asked {
            Ok(message) => match permitted.minimise(message, self.house.limits.message()) {
                Ok(message) => (Ok(Answer::Message(message)), CommandStep::Done),
                Err(refusal) => (Err(refusal.detail("the command was carried out").unknown()), CommandStep::Done),
            },
            Err(undone @ LegacyError::Undone(_)) => (answered_or_refused(undone), CommandStep::Freed),
            Err(error) => match answered_or_refused(error) {
                Ok(status) => (Ok(status), CommandStep::Done),
                Err(refusal) if refusal.reason == Reason::AlreadyDone => (Err(refusal), CommandStep::Done),
                Err(refusal) => (Err(refusal.unknown()), CommandStep::Unknown),
            },
        }
    }

    /// Answers with what is kept of the exchange that carried the command out.
    async fn repeat(
        &self,
        mut permitted: Box<Permitted>,
        key: &CommandKey,
        by: ExchangeId,
    ) -> Result<Whole, Box<Refused>> {
        let kept = self.answers.find(key).await.filter(|kept| kept.exchange_id == by.as_bytes().as_slice());
        let Some(kept) = kept else {
            let told = format!(
                "the command of this key was carried out, as the record of the exchange {by} says; its answer is no longer kept"
            );
            return Err(permitted.verified.refuse(Refusal::new(Reason::AlreadyDone, Hop::Provider, told)));
        };
        let named = &permitted.plan.application_metadata;
        let said = Said::kept((&kept.initial_metadata, &kept.trailing_metadata), named);
        let result = if kept.has_message {
            // The agreement of this exchange may release less than the one it was carried out under.
            permitted
                .plan
                .projection
                .apply(kept.message)
                .map(Answer::Message)
                .map_err(|e| unusable(&e.to_string()).unknown())
        } else {
            Ok(Answer::Status(Status { code: kept.status, message: kept.status_message, details: kept.status_details }))
        };
        permitted.verified.account.private.detail =
            format!("the kept answer of exchange {by}; nothing was carried out");
        let result = result.map(|answer| (answer, said));
        Ok(self.settle(Answered { permitted, result }).await)
    }
}

fn note(private: &mut records::Private, command: &Command, step: CommandStep) {
    private.command_key = command.key.0.to_vec().into();
    private.command_request = command.request.to_vec().into();
    private.command_step = step.into();
}

fn kept(exchange: ExchangeId, (answer, said): &(Answer, Said)) -> KeptAnswer {
    let kept = KeptAnswer {
        exchange_id: exchange.as_bytes().to_vec().into(),
        initial_metadata: said.initial.encode(),
        trailing_metadata: said.trailing.encode(),
        ..KeptAnswer::default()
    };
    match answer {
        Answer::Message(message) => KeptAnswer { message: message.clone(), has_message: true, ..kept },
        Answer::Status(status) => KeptAnswer {
            status: status.code,
            status_message: status.message.clone(),
            status_details: status.details.clone(),
            ..kept
        },
    }
}
