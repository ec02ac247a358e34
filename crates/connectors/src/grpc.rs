//! Connector kind `grpc`: a back end that serves the contract itself, asked over HTTP/2 with its bytes passed through.
//!
//! Messages are neither decoded nor framed anew by a gRPC library: they pass as the frames of HTTP/2 brought them, and only their five-byte prefix is read.

pub(crate) use channel::Channels;
pub(crate) use config::GrpcBinding;
pub(crate) use connector::GrpcConnector;

mod channel;
mod config;
mod connector;
mod healthcheck;
mod messages;
mod noting;
mod outgoing;
mod patience;
mod status;
#[cfg(test)]
mod tests;
mod tls;
