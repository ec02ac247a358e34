//! Contracts as JSON over HTTP: routes, requests, answers and the document.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

mod rest {
    pub mod contracts;
    pub mod document;
    pub mod routes;
    pub mod schemas;
    pub mod transcoding;
}
