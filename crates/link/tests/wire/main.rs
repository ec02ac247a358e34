//! Links over real sockets and real TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures, reason = "tests")]

mod abuse;
mod connections;
mod http1;
mod identity;
mod links;
mod raw;
mod single;
mod stalls;
mod streams;
mod support;
