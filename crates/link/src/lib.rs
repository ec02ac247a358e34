//! How bytes cross between gateways: HTTP/2 over mutual TLS, one stream for each exchange.
//!
//! The surprising fact: there is no HTTP library between this crate and [`h2`]. A gateway hands on length-prefixed messages
//! that it did not make, so everything a general server or client adds (a second task for each call, a hand-off to it and back,
//! a dispatcher) is cost without use, and the limits that keep a hostile peer in its place sit below HTTP/2 anyhow.
//!
//! - [`server`] accepts connections, for the links' port and the clients' port alike.
//! - [`client`] keeps a few full connections to every gateway that this one asks; [`client::Single`] is one to a back end.
//! - [`Body`], [`Sender`] and [`Incoming`] are the two directions of a stream.
//! - [`FrameWalker`] follows the frames of HTTP/2, to count what a peer does.
//! - [`MessageWalker`] counts and checks gRPC's length-prefixed messages as they pass.
//!
//! The crate knows bytes. Claims, permission and payloads mean nothing to it; who a peer is, is for a function that is handed in.

mod body;
mod coalesce;
mod frames;
mod guard;
mod http2;
mod messages;
mod pump;
mod upkeep;

pub mod client;
pub mod server;

pub use body::{Body, BodyError, Closed, Collected, Incoming, Sender};
pub use coalesce::CoalescedWrites;
pub use frames::{Frame, FrameWalker, Kind as FrameKind};
pub use guard::Breach;
pub use h2::Reason;
pub use http2::{Http2, Keepalive};
pub use messages::{FramingError, MessageSplitter, MessageWalker};
