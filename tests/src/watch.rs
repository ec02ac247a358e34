//! What can be seen of a member's gateway from outside: its data folder, its operations port, its log, its memory.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    path::PathBuf,
    time::{Duration, Instant},
};

use ledger::Reader;
use records::Record;

use crate::{Client, Member};

/// What a gateway uses in half a second in which it only looks after itself, in hundredths of a second.
const RESTING_TICKS: u64 = 5;

impl Member {
    /// Where everything lies that its gateway writes.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Asks its operations port; returns HTTP status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = std::net::TcpStream::connect(self.operations).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The value of a metric that has no labels of its own; 0 before it has one.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.get("/metrics");
        let sample = text.lines().find(|line| line.split(['{', ' ']).next() == Some(name));
        sample.map_or(0, |line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
    }

    /// Connects one of its systems, which takes no more than `window` bytes that it has not read.
    pub async fn connect_with_window(&self, system: &str, window: u32) -> Client {
        let read = |name: String| std::fs::read_to_string(self.folder.join(name)).unwrap();
        let (certificate, key) = (read(format!("systems/{system}.pem")), read(format!("systems/{system}.key.pem")));
        let root = self.authority.certificate_pem();
        Client::connect_with_window(self.clients, &root, &certificate, &key, Some(window)).await.unwrap()
    }

    /// The records of its log from `index` on.
    pub fn records_from(&self, index: u64) -> Vec<Record> {
        let reader = Reader::open(self.ledger()).unwrap();
        reader.entries_from(index).map(|stored| Record::open(stored.unwrap()).unwrap()).collect()
    }

    /// The exchanges of its log that have an intent and nothing that settles them.
    pub fn open_exchanges(&self) -> BTreeSet<String> {
        let mut open = BTreeSet::new();
        for record in self.records() {
            let Some(exchange) = record.exchange() else { continue };
            if record.settles() {
                open.remove(&exchange.to_string());
            } else {
                open.insert(exchange.to_string());
            }
        }
        open
    }

    /// Waits until its gateway process has used next to no processor time for half a second.
    pub async fn at_rest(&self) {
        let mut seen = (self.ticks(), Instant::now());
        crate::eventually("the gateway comes to rest", 20, async || {
            let now = self.ticks();
            if now - seen.0 > RESTING_TICKS {
                seen = (now, Instant::now());
            }
            (seen.1.elapsed() > Duration::from_millis(500)).then_some(())
        })
        .await;
    }

    /// User and system time of its gateway process, in hundredths of a second.
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process().id())).unwrap();
        // The 14th and 15th fields of all; behind the name in brackets the state comes first, which is the third.
        let mut fields =
            stat.rsplit(") ").next().unwrap().split(' ').skip(11).map(|field| field.parse::<u64>().unwrap());
        fields.next().unwrap() + fields.next().unwrap()
    }

    /// What its gateway process has resident, and the most that it ever had, in bytes.
    pub fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process().id())).unwrap();
        let kibibytes = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        (kibibytes("VmRSS:") * 1024, kibibytes("VmHWM:") * 1024)
    }
}
