//! The commands as a person types them: the binary itself, in a folder of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "commands/support.rs"]
mod support;

#[path = "commands/agreements.rs"]
mod agreements;
#[path = "commands/check.rs"]
mod check;
#[path = "commands/contracts.rs"]
mod contracts;
#[path = "commands/exchange.rs"]
mod exchange;
#[path = "commands/explain.rs"]
mod explain;
#[path = "commands/identities.rs"]
mod identities;
#[path = "commands/init.rs"]
mod init;
#[path = "commands/logs.rs"]
mod logs;
#[path = "commands/receipts.rs"]
mod receipts;
#[path = "commands/running.rs"]
mod running;
#[path = "commands/shell.rs"]
mod shell;
