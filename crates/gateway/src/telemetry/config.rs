//! `[telemetry]`: where traces and metrics go by OTLP, and which.

use std::{collections::BTreeMap, path::PathBuf};

use connectors::Timeout;
use serde::Deserialize;

/// `[telemetry]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// The collector, as in `https://collector.example:4317`; of `http` the base to which `/v1/traces` and `/v1/metrics` are added.
    /// Default: none, and nothing is exported.
    pub endpoint: Option<String>,
    /// `grpc` or `http` (protobuf in both). Default: `grpc`.
    pub protocol: OtlpProtocol,
    /// File of headers that go with each export, a line each, as in `authorization: Bearer …`. Default: none.
    pub headers: Option<PathBuf>,
    /// PEM file of the authorities that the collector's certificate may come from; nobody else is believed. Has to be given for
    /// `https`.
    pub ca: Option<PathBuf>,
    /// Takes a collector in plain text on another machine. Traces name members, methods and times. Default: false.
    pub dangerous_plaintext: bool,
    /// Share of the exchanges that are traced where the caller brings no trace, from 0 to 1. Where it does, its choice is
    /// followed. Default: 0.1.
    pub sample: f64,
    /// How often metrics are exported. Default: `"60s"`.
    pub interval: Timeout,
    /// Traced exchanges that wait to be exported; one more is dropped and counted. Default: 2,048.
    pub queue: usize,
    /// Attributes of the resource, beside `service.name`, `service.namespace`, `service.instance.id` and `service.version`.
    pub resource: BTreeMap<String, String>,
}

/// How OTLP travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtlpProtocol {
    /// gRPC.
    #[default]
    Grpc,
    /// POST of protobuf.
    Http,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: OtlpProtocol::default(),
            headers: None,
            ca: None,
            dangerous_plaintext: false,
            sample: 0.1,
            interval: std::time::Duration::from_secs(60).into(),
            queue: 2048,
            resource: BTreeMap::new(),
        }
    }
}
