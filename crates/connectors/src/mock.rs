//! Connector kind `mock`: no legacy system at all, but answers that are made up after the contract, or taken from a file of
//! examples. For development: partners of a member write their side before the member's own is ready.

pub(crate) use config::MockBinding;
pub(crate) use connector::MockConnector;
pub(crate) use examples::Shelf;

mod config;
mod connector;
mod examples;
mod healthcheck;
mod matching;
#[cfg(test)]
mod tests;
