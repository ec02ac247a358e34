//! How the gateway stands, as numbers: what ends when, who is reachable, what room there is.
//!
//! Looked at when metrics are read, as `/status` is.

use std::{
    sync::{Arc, Weak},
    time::{SystemTime, UNIX_EPOCH},
};

use opentelemetry::{KeyValue, metrics::Meter};

use crate::status::{AgreementLabels, Ending, Source};

/// One series of a gauge.
type Point = (u64, Vec<KeyValue>);

/// Adds the gauges that `source` is asked for. It is not kept alive by them.
pub(super) fn gauges(meter: &Meter, source: &Arc<Source>) {
    let gauge = |name: &'static str, unit: &'static str, description: &'static str, read: fn(&Source) -> Vec<Point>| {
        let source: Weak<Source> = Arc::downgrade(source);
        meter
            .u64_observable_gauge(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| {
                for (value, labels) in source.upgrade().iter().flat_map(|source| read(source)) {
                    observer.observe(value, &labels);
                }
            })
            .build();
    };
    gauge("drawbridge.build.info", "", "1, with the version of the program and the gateway's id", |source| {
        let gateway = source.shared.house.gateway.to_string();
        vec![(1, vec![KeyValue::new("version", env!("CARGO_PKG_VERSION")), KeyValue::new("gateway", gateway)])]
    });
    gauge("drawbridge.gateway.start_timestamp", "s", "When the gateway was started", |source| {
        one(unix(source.started.0))
    });
    gauge("drawbridge.exchange.open", "{exchange}", "Exchanges that go on", |source| {
        one(u64::try_from(source.exchanges().now).unwrap_or(u64::MAX))
    });
    gauge("drawbridge.exchange.limit", "{exchange}", "Exchanges that may go on at once", |source| {
        one(u64::try_from(source.exchanges().most).unwrap_or(u64::MAX))
    });
    gauge("drawbridge.ledger.records", "{record}", "Records on disk", |source| {
        one(source.shared.house.records.ledger().size())
    });
    gauge("drawbridge.ledger.size", "By", "What the records take on disk", |source| one(source.disk().journal_bytes));
    gauge("drawbridge.disk.free", "By", "Room on the disk of the exchange log", |source| {
        source.disk().free_bytes.map(one).unwrap_or_default()
    });
    gauge("drawbridge.disk.size", "By", "Size of the disk of the exchange log", |source| {
        source.disk().size_bytes.map(one).unwrap_or_default()
    });
    gauge("drawbridge.peer.reachable", "", "1 while a gateway that was asked can be reached, 0 while not", |source| {
        let reachable = |(gateway, up): (String, bool)| (u64::from(up), vec![KeyValue::new("gateway", gateway)]);
        source.reachable().into_iter().map(reachable).collect()
    });
    gauge(
        "drawbridge.certificate.end_timestamp",
        "s",
        "When a certificate of this gateway, or the entry or last root of a member, ends",
        |source| {
            let point = |Ending { kind, member, end }: Ending| {
                (unix(end), vec![KeyValue::new("kind", kind), KeyValue::new("member", member)])
            };
            source.endings().into_iter().map(point).collect()
        },
    );
    gauge("drawbridge.agreement.end_timestamp", "s", "When an agreement in force or to come ends", |source| {
        let point = |(labels, end): (AgreementLabels, SystemTime)| (unix(end), named(labels));
        source.agreements_in_force().into_iter().map(point).collect()
    });
    gauge(
        "drawbridge.agreement.served",
        "",
        "1 for an agreement in force whose grants all permit what they say, 0 while a loaded contract keeps one from that",
        |source| {
            let served = |(labels, served): (AgreementLabels, bool)| (u64::from(served), named(labels));
            source.agreements_served().into_iter().map(served).collect()
        },
    );
}

fn named(AgreementLabels { agreement, consumer, provider }: AgreementLabels) -> Vec<KeyValue> {
    let labels = [("agreement", agreement), ("consumer", consumer), ("provider", provider)];
    labels.map(|(name, value)| KeyValue::new(name, value)).to_vec()
}

fn one(value: u64) -> Vec<Point> {
    vec![(value, Vec::new())]
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
