//! How often a call is sent again that the back end never saw.
//!
//! The surprising fact: it is no fixed number. A back end that retires its connections while calls wait for a place on them sends some of them
//! away many times, and does nothing wrong. What ends the patience is that nothing is answered meanwhile.

use std::time::Duration;

use link::client::Single;

use crate::ConnectorError;

/// Connections in a row that ended before anything was answered on them.
const IN_VAIN: usize = 3;

/// Connections for one call, whatever was answered on them: a bound for calls without a deadline.
const CONNECTIONS: usize = 1_000;

/// How often one call is refused on connections that go on.
const REFUSALS: u32 = 7;

/// The pause before the third attempt after refusals; it doubles from there. The second is made at once, as the back end may only have
/// lowered the number of calls that it takes at a time, which HTTP/2 keeps to from then on.
const PAUSE: Duration = Duration::from_millis(10);

/// What one call has met so far.
#[derive(Default)]
pub(super) struct Patience {
    /// Connections on which nothing was answered, as far as is known: calls that they took may be answered yet.
    unanswered: Vec<Single>,
    connections: usize,
    refusals: u32,
}

impl Patience {
    /// Notes that a connection takes no more calls: the next attempt is made on another one.
    ///
    /// # Errors
    ///
    /// [`ConnectorError::Unreachable`] once it is enough.
    pub(super) fn retired(&mut self, connection: &Single) -> Result<(), ConnectorError> {
        self.connections += 1;
        if connection.has_answered() {
            self.unanswered.clear();
        } else {
            self.unanswered.push(connection.clone());
        }
        self.unanswered.retain(|earlier| !earlier.has_answered());
        let in_vain = self.unanswered.iter().filter(|earlier| earlier.streams() == 0).count();
        if in_vain >= IN_VAIN {
            return Err(given_up("it ends every connection before it answers anything on it"));
        }
        if self.connections >= CONNECTIONS {
            return Err(given_up("it ended a thousand connections before it looked at the call"));
        }
        Ok(())
    }

    /// Notes that a connection refused the call and goes on, and waits until it may be asked again.
    ///
    /// # Errors
    ///
    /// [`ConnectorError::Unreachable`] once it is enough.
    pub(super) async fn refused(&mut self) -> Result<(), ConnectorError> {
        self.refusals += 1;
        if self.refusals >= REFUSALS {
            return Err(given_up("it refuses the call again and again before it looks at it"));
        }
        if let Some(doublings) = self.refusals.checked_sub(2) {
            tokio::time::sleep(PAUSE * (1 << doublings)).await;
        }
        Ok(())
    }
}

/// Nothing of the call was done.
fn given_up(why: &'static str) -> ConnectorError {
    ConnectorError::Unreachable { why: why.into() }
}
