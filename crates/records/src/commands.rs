//! What is known of the keys of commands, so that none is carried out twice.
//!
//! The log is the truth: every change is a record first, and at start the whole is read back from it. In memory stays a fixed number
//! of bytes for each key, for as long as the log itself does; a shorter memory would let an old command be done again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac;
use proto::records::CommandStep;

use crate::{ExchangeId, Record};

/// What a key stands for within consumer, system and method.
#[derive(Copy, Clone, PartialEq, Eq, Hash)]
pub struct CommandKey(pub [u8; 32]);

/// A command: its key, and the digest of its request under the key.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct Command {
    /// What it is known by.
    pub key: CommandKey,
    /// HMAC-SHA-256 of the request under the key.
    pub request: [u8; 32],
}

/// What came of asking for a key.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is the asker's now, who has to say what becomes of it.
    Free,
    /// The exchange carries it out right now.
    Running(ExchangeId),
    /// The exchange has carried it out.
    Done(ExchangeId),
    /// The exchange has begun it, and nobody can say whether it was done.
    Unknown(ExchangeId),
    /// The exchange used the key for another request.
    Reused(ExchangeId),
}

/// The keys of all commands that a log knows of.
#[derive(Default)]
pub struct Commands {
    keys: Mutex<HashMap<[u8; 16], Known>>,
}

/// What is remembered of one key. Half of a SHA-256 hash tells keys and requests apart.
#[derive(Copy, Clone)]
struct Known {
    request: [u8; 16],
    exchange: ExchangeId,
    fate: Fate,
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Fate {
    Running,
    Done,
    Unknown,
}

impl Command {
    /// Returns the command that asks `request` under `key`.
    #[must_use]
    pub fn new(key: CommandKey, request: &[u8]) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key.0), request);
        Self { key, request: half_or_whole(tag.as_ref()) }
    }
}

impl Commands {
    /// Takes a key for an exchange, unless it is known. The taker says what became of it by [`Commands::done`],
    /// [`Commands::freed`] or [`Commands::unknown`].
    pub fn take(&self, command: &Command, exchange: ExchangeId) -> Taken {
        let mut keys = self.keys();
        let (key, request) = (half_or_whole(&command.key.0), half_or_whole(&command.request));
        let Some(known) = keys.get(&key) else {
            keys.insert(key, Known { request, exchange, fate: Fate::Running });
            return Taken::Free;
        };
        match known.fate {
            _ if known.request != request => Taken::Reused(known.exchange),
            Fate::Running => Taken::Running(known.exchange),
            Fate::Done => Taken::Done(known.exchange),
            Fate::Unknown => Taken::Unknown(known.exchange),
        }
    }

    /// Says what is known of a key, whatever its request.
    #[must_use]
    pub fn look(&self, key: &CommandKey) -> Option<Taken> {
        let known = *self.keys().get(&half_or_whole(&key.0))?;
        Some(match known.fate {
            Fate::Running => Taken::Running(known.exchange),
            Fate::Done => Taken::Done(known.exchange),
            Fate::Unknown => Taken::Unknown(known.exchange),
        })
    }

    /// The command was carried out.
    pub fn done(&self, key: &CommandKey) {
        self.settle(key, Fate::Done);
    }

    /// Nobody can say whether the command was carried out.
    pub fn unknown(&self, key: &CommandKey) {
        self.settle(key, Fate::Unknown);
    }

    /// Nothing was done: the key may be used again.
    pub fn freed(&self, key: &CommandKey) {
        self.keys().remove(&half_or_whole(&key.0));
    }

    /// What became of the command that `exchange` began under a key, and was unknown, is known now. Does nothing where that is known
    /// already, or somebody else has taken the key meanwhile.
    pub fn resolve(&self, key: &CommandKey, exchange: ExchangeId, done: bool) {
        let mut keys = self.keys();
        let key = half_or_whole(&key.0);
        let Some(known) = keys.get_mut(&key) else { return };
        if (known.fate, known.exchange) != (Fate::Unknown, exchange) {
            return;
        }
        if done {
            known.fate = Fate::Done;
        } else {
            keys.remove(&key);
        }
    }

    /// Returns how many keys are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys().len()
    }

    /// Returns whether no key is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys().is_empty()
    }

    fn settle(&self, key: &CommandKey, fate: Fate) {
        if let Some(known) = self.keys().get_mut(&half_or_whole(&key.0)) {
            known.fate = fate;
        }
    }

    /// Learns from a record of the log, in the order of the log. An intent without an outcome stays unknown.
    pub(crate) fn learn(&self, record: &Record) {
        let (Some(opened), Some(exchange)) = (&record.opened, record.exchange()) else { return };
        let private = &opened.private;
        let Ok(key) = <[u8; 32]>::try_from(private.command_key.as_ref()) else { return };
        let (key, request) = (half_or_whole(&key), half_or_whole(&private.command_request));
        let fate = match private.command_step() {
            CommandStep::Unspecified => return,
            CommandStep::Freed => {
                self.keys().remove(&key);
                return;
            }
            CommandStep::Taken | CommandStep::Unknown => Fate::Unknown,
            CommandStep::Done => Fate::Done,
        };
        self.keys().insert(key, Known { request, exchange, fate });
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<[u8; 16], Known>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies as much as there is room for.
fn half_or_whole<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    out
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn exchange(number: u8) -> ExchangeId {
        ExchangeId::new(SystemTime::UNIX_EPOCH, [number; 10])
    }

    #[test]
    fn a_key_is_taken_once_and_stands_for_one_request() {
        let commands = Commands::default();
        let key = CommandKey([7; 32]);
        let (command, other) = (Command::new(key, b"rent"), Command::new(key, b"sell"));
        assert_eq!(commands.take(&command, exchange(1)), Taken::Free);
        assert_eq!(commands.take(&command, exchange(2)), Taken::Running(exchange(1)));
        assert_eq!(commands.take(&other, exchange(2)), Taken::Reused(exchange(1)));
        commands.done(&key);
        assert_eq!(commands.take(&command, exchange(3)), Taken::Done(exchange(1)));
        assert_eq!(commands.take(&other, exchange(3)), Taken::Reused(exchange(1)));
        assert_eq!(commands.look(&key), Some(Taken::Done(exchange(1))));
    }

    #[test]
    fn a_key_under_which_nothing_was_done_may_be_used_again_for_anything() {
        let commands = Commands::default();
        let key = CommandKey([7; 32]);
        assert_eq!(commands.take(&Command::new(key, b"rent"), exchange(1)), Taken::Free);
        commands.freed(&key);
        assert!(commands.is_empty());
        let other = Command::new(key, b"sell");
        assert_eq!(commands.take(&other, exchange(2)), Taken::Free);
        commands.unknown(&key);
        assert_eq!(commands.take(&other, exchange(3)), Taken::Unknown(exchange(2)));
    }

    #[test]
    fn what_is_found_out_of_an_unknown_command_holds_for_that_one_alone() {
        let commands = Commands::default();
        let key = CommandKey([7; 32]);
        let command = Command::new(key, b"rent");
        assert_eq!(commands.take(&command, exchange(1)), Taken::Free);
        // It is under way.
        commands.resolve(&key, exchange(1), false);
        assert_eq!(commands.look(&key), Some(Taken::Running(exchange(1))));
        commands.unknown(&key);
        commands.resolve(&key, exchange(2), false);
        assert_eq!(commands.look(&key), Some(Taken::Unknown(exchange(1))));
        commands.resolve(&key, exchange(1), false);
        assert_eq!(commands.take(&command, exchange(3)), Taken::Free);
        // Found out twice: the second is about a command that is not that one any more.
        commands.resolve(&key, exchange(1), false);
        commands.unknown(&key);
        commands.resolve(&key, exchange(3), true);
        commands.resolve(&key, exchange(3), false);
        assert_eq!(commands.look(&key), Some(Taken::Done(exchange(3))));
    }
}
