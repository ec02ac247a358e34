//! Callers with a good certificate that keep no rule of HTTP, on both ports of real gateways: each is stopped within a limit, what it
//! costs is bounded, and an honest caller is answered all the while.

mod http1;
mod stalls;

use drawbridge_tests::{
    COUNCIL, TRUST, TestFederation,
    raw::{END_HEADERS, END_STREAM, Honest, Raw, field, frame, head, kind},
};

const FIND: &str = "/test.v1.Records/Find";
/// What abuse may cost a gateway in memory, in bytes.
const BOUND: u64 = 96 * 1024 * 1024;

/// Which port is abused.
#[derive(Clone, Copy, Debug)]
enum Port {
    Clients,
    Links,
}

impl Port {
    const BOTH: [Self; 2] = [Self::Clients, Self::Links];

    /// Connects as one that is let in, and opens HTTP/2.
    async fn connect(self, federation: &TestFederation) -> Raw {
        let council = federation.member(COUNCIL);
        let mut raw = match self {
            Self::Clients => Raw::system(council, "planning", "h2").await,
            Self::Links => Raw::gateway(council, federation.member(TRUST)).await,
        };
        raw.open(&[]).await;
        raw
    }
}

/// Gateways that wait for headers no longer than two seconds.
async fn federation() -> TestFederation {
    let federation = TestFederation::new().await;
    for member in [COUNCIL, TRUST] {
        federation
            .member(member)
            .reconfigure("[limits]\n", "[limits]\nheader_timeout = \"2s\"\nrequest_timeout = \"2s\"\n");
    }
    federation.start()
}

async fn honest(federation: &TestFederation) -> Honest {
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    Honest::asks(federation.revenues().await, FIND, find)
}

/// Memory that is resident at each of the two gateways.
fn resident(federation: &TestFederation) -> [u64; 2] {
    [COUNCIL, TRUST].map(|member| federation.member(member).memory().0)
}

/// The most that either gateway ever had, above what it had before.
fn cost(federation: &TestFederation, before: [u64; 2]) -> u64 {
    let most = [COUNCIL, TRUST].map(|member| federation.member(member).memory().1);
    most.iter().zip(before).map(|(most, before)| most.saturating_sub(before)).max().unwrap()
}

/// A flood: what is sent at first, and then again and again with the number of the next stream.
struct Flood {
    what: &'static str,
    first: fn() -> Vec<u8>,
    again: fn(u32) -> Vec<u8>,
}

fn nothing() -> Vec<u8> {
    Vec::new()
}

fn begun() -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS, 1, &head(FIND))
}

const FLOODS: &[Flood] = &[
    Flood {
        what: "streams opened and reset in haste",
        first: nothing,
        again: |stream| {
            let opened = frame(kind::HEADERS, END_HEADERS, stream, &head(FIND));
            [opened, frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        },
    },
    Flood {
        what: "calls that are asked and given up at once",
        first: nothing,
        again: |stream| {
            let asked = frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &head(FIND));
            [asked, frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        },
    },
    Flood { what: "pings", first: nothing, again: |_| frame(kind::PING, 0, 0, &[0; 8]) },
    Flood { what: "settings", first: nothing, again: |_| frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]) },
    Flood { what: "priorities", first: nothing, again: |_| frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 3, 1]) },
    Flood { what: "unknown frames", first: nothing, again: |_| frame(0xee, 0, 0, b"?") },
    Flood { what: "window updates", first: begun, again: |_| frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]) },
    Flood { what: "data without a byte", first: begun, again: |_| frame(kind::DATA, 0, 1, &[]) },
    Flood {
        what: "header blocks without end",
        first: || frame(kind::HEADERS, 0, 1, &head(FIND)),
        again: |_| frame(kind::CONTINUATION, 0, 1, &field("x", "v")),
    },
    Flood {
        what: "streams that nobody ends",
        first: nothing,
        again: |stream| frame(kind::HEADERS, END_HEADERS, stream, &head(FIND)),
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_end_their_connection_on_both_ports() {
    let federation = federation().await;
    let (before, honest) = (resident(&federation), honest(&federation).await);
    for port in Port::BOTH {
        for Flood { what, first, again } in FLOODS {
            let mut raw = port.connect(&federation).await;
            raw.write(&first()).await;
            let mut taken = 0_u32;
            // Sent in pieces of some: what is asked by one caller, a gateway sees one after the other.
            while taken < 200_000 {
                let piece: Vec<u8> = (taken..taken + 20).flat_map(|number| again(2 * number + 3)).collect();
                if !raw.write(&piece).await {
                    break;
                }
                taken += 20;
                tokio::task::yield_now().await;
            }
            assert!(taken < 200_000, "{port:?}: {what}: all was taken");
            raw.closed().await;
        }
    }
    assert!(honest.answered().await > 0);
    let cost = cost(&federation, before);
    assert!(cost < BOUND, "the floods took {} MiB", cost >> 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_trickle_swell_or_unpack_to_too_many_are_refused_on_both_ports() {
    let federation = federation().await;
    let (before, honest) = (resident(&federation), honest(&federation).await);
    // One field of 4,000 bytes into the decoder's table, and then the same one three thousand times at a byte each.
    let mut bomb = head(FIND);
    let mut kept = field("x", &"v".repeat(4_000));
    kept[0] = 0x40;
    bomb.extend(kept);
    bomb.extend([0xbe; 3_000]);
    let long = [head(FIND), field("x", &"v".repeat(14_000))].concat();
    for port in Port::BOTH {
        let mut raw = port.connect(&federation).await;
        raw.write(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &bomb)).await;
        raw.closed().await;
        let mut raw = port.connect(&federation).await;
        raw.write(&frame(kind::HEADERS, END_STREAM, 1, &long)).await;
        for _ in 0..20 {
            raw.write(&frame(kind::CONTINUATION, 0, 1, &field("y", &"v".repeat(14_000)))).await;
        }
        raw.closed().await;
        // Begun, and never ended.
        let mut raw = port.connect(&federation).await;
        raw.write(&frame(kind::HEADERS, END_HEADERS, 1, &head(FIND))[..40]).await;
        raw.closed().await;
    }
    assert!(honest.answered().await > 0);
    let cost = cost(&federation, before);
    assert!(cost < BOUND, "the headers took {} MiB", cost >> 20);
}
