//! The table of targets, and how one is run and measured.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;

use crate::targets::{
    certificate, claims, contract, filter, frames, framing, headers, journal, json, note, proofs, request, toml, web,
};

/// Counts what is allocated, so that a length field that promises gigabytes is seen.
#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Longest that one input may take, in a build without optimisation. What is linear takes milliseconds.
const SLOW: Duration = Duration::from_secs(10);

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// One parser, or a few that read the same bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which its corpus has too.
    pub name: &'static str,
    /// What it reads.
    pub reads: &'static str,
    run: fn(&[u8]),
    /// Longest input worth trying, in bytes.
    pub longest: usize,
    /// Most memory that it may take at once, in bytes: so many, and so many more for each byte of input.
    memory: (usize, usize),
    /// Inputs made from the corpus in the smoke run. A target that writes files is given fewer.
    pub rounds: u32,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    target("headers", "`drawbridge-*-bin`, gRPC's status and a partner system's metadata", headers::run, 16 * KIB),
    target("claims", "claims, seals, proofs, receipts and records as protobuf", claims::run, 16 * KIB),
    target("proofs", "seals, audit paths, consistency proofs and frontiers", proofs::run, 4 * KIB),
    target("note", "signed notes, checkpoints, keys and promises", note::run, 256 * KIB),
    target("journal", "journal segments, as recovery reads them", journal::journal, 2 * KIB)
        .of((64 * MIB, 64))
        .tried(30),
    target("tiles", "checkpoints, tiles and keys of a log", journal::tiles, 2 * KIB).of((64 * MIB, 64)).tried(30),
    target("filter", "answers, from which an agreement takes fields", filter::run, 64 * KIB),
    target("request", "request and answer messages, held against their contract", request::run, 64 * KIB)
        .of((MIB, 256)),
    target("descriptor_set", "contracts that a compiler has made", contract::descriptor_set, 64 * KIB)
        .of((64 * MIB, 4 * KIB)),
    target("protos", "contracts as text", contract::protos, 16 * KIB).of((64 * MIB, 4 * KIB)),
    target("json", "paths, queries and JSON of REST clients", json::run, 64 * KIB).of((2 * MIB, KIB)),
    target("frames", "frames of HTTP/2, however they are cut", frames::run, 64 * KIB),
    target("framing", "gRPC's length-prefixed messages, however they are cut", framing::run, 64 * KIB),
    target("web", "gRPC-Web's bodies in both forms, however they are cut", web::run, 64 * KIB),
    target("agreement", "agreements and end notes", toml::agreement, 256 * KIB).of((8 * MIB, KIB)),
    target("directory", "directories, entries and registers of revocations", toml::directory, 256 * KIB)
        .of((8 * MIB, KIB)),
    target("configuration", "a gateway's configuration", toml::configuration, 256 * KIB).of((8 * MIB, KIB)),
    target("certificate", "certificates and revocation lists", certificate::run, 16 * KIB),
];

const fn target(name: &'static str, reads: &'static str, run: fn(&[u8]), longest: usize) -> Target {
    Target { name, reads, run, longest, memory: (MIB, 64), rounds: 400 }
}

impl Target {
    const fn of(self, memory: (usize, usize)) -> Self {
        Self { memory, ..self }
    }

    const fn tried(self, rounds: u32) -> Self {
        Self { rounds, ..self }
    }

    /// The target of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Makes what the target needs, so that it does not count as the first input's.
    pub fn prepare(&self) {
        (self.run)(&[]);
    }

    /// Runs the target on one input. Panics where a promise is broken.
    pub fn check(&self, input: &[u8]) {
        // What another target allocates meanwhile would be taken for this one's.
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let before = ALLOCATED.current_usage();
        ALLOCATED.reset_peak_usage();
        (self.run)(input);
        let taken = ALLOCATED.peak_usage().saturating_sub(before);
        let (fixed, each) = self.memory;
        let allowed = fixed + each * input.len();
        assert!(taken <= allowed, "{} bytes took {taken} bytes of memory; allowed are {allowed}", input.len());
    }

    /// Runs the target on one input, which has to end soon. A machine that is busy with something else has a second look.
    pub fn check_in_time(&self, input: &[u8]) {
        let took = || {
            let begun = Instant::now();
            self.check(input);
            begun.elapsed()
        };
        let first = took();
        assert!(first < SLOW || took() < SLOW, "{} bytes took {first:?}", input.len());
    }
}
