//! Between what a limit may lie. Beyond it a gateway would refuse everything, or hold to nothing.

use std::{fmt::Display, time::Duration};

use connectors::{Size, Timeout};
use problem::Problem;

use crate::config::ConfigFile;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
/// Connections, exchanges or handshakes: each takes memory, and connections take descriptors too.
const MANY: usize = 1_000_000;

/// Returns a problem for every limit that lies beyond its bounds.
pub(super) fn problems(file: &ConfigFile) -> Vec<Problem> {
    let (limits, commands) = (&file.config.limits, &file.config.commands);
    let millisecond = Duration::from_millis(1);
    [
        number(file, "limits.exchanges", limits.exchanges, MANY),
        number(file, "limits.streams", usize::try_from(limits.streams).unwrap_or(usize::MAX), MANY),
        number(file, "limits.handshakes", limits.handshakes, MANY),
        number(file, "limits.connections", limits.connections, MANY),
        limits.workers.and_then(|workers| number(file, "limits.workers", workers, KIB)),
        size(file, "limits.message", limits.message, (1, GIB)),
        size(file, "limits.header", limits.header, (KIB, MIB)),
        time(file, "limits.header_timeout", limits.header_timeout, (millisecond, HOUR)),
        time(file, "limits.handshake_timeout", limits.handshake_timeout, (millisecond, HOUR)),
        time(file, "limits.keepalive", limits.keepalive, (millisecond, DAY)),
        time(file, "limits.connection_age", limits.connection_age, (SECOND, 30 * DAY)),
        time(file, "limits.request_timeout", limits.request_timeout, (millisecond, DAY)),
        time(file, "limits.stream_idle", limits.stream_idle, (millisecond, DAY)),
        time(file, "limits.drain", limits.drain, (millisecond, DAY)),
        time(file, "commands.keep", commands.keep, (millisecond, 366 * DAY)),
        size(file, "commands.room", commands.room, (KIB, KIB * GIB)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn number(file: &ConfigFile, setting: &str, is: usize, most: usize) -> Option<Problem> {
    within(file, setting, (is, 1, most), ToString::to_string)
}

fn size(file: &ConfigFile, setting: &str, is: Size, (least, most): (usize, usize)) -> Option<Problem> {
    within(file, setting, (is.bytes(), least, most), |bytes| format!("\"{}\"", written(*bytes)))
}

fn time(file: &ConfigFile, setting: &str, is: Timeout, (least, most): (Duration, Duration)) -> Option<Problem> {
    within(file, setting, (is.duration(), least, most), |time| format!("\"{}\"", Timeout::from(*time)))
}

fn within<T: PartialOrd, W: Display>(
    file: &ConfigFile,
    setting: &str,
    (is, least, most): (T, T, T),
    words: impl Fn(&T) -> W,
) -> Option<Problem> {
    let (bound, wrong) = if is < least { ("too small", true) } else { ("too large", is > most) };
    wrong.then(|| {
        let help = format!("set it from {} to {}", words(&least), words(&most));
        file.problem(setting, format!("{} is {bound}", words(&is))).help(help)
    })
}

/// Writes a size as the configuration does.
fn written(bytes: usize) -> String {
    for (unit, name) in [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        let least = "format = \"drawbridge.gateway/v1\"\nmember = \"county.example\"\ngateway = \"main\"\n";
        std::fs::write(&path, format!("{least}{text}")).unwrap();
        let file = ConfigFile::read(&path, []).unwrap();
        let told: Vec<_> = problems(&file)
            .iter()
            .map(|p| format!("{}: {}: {}", p.line.unwrap(), p.what, p.help.clone().unwrap()))
            .collect();
        assert_eq!(told, expected, "{text}");
    }

    #[test]
    fn a_limit_beyond_its_bounds_is_told_with_them() {
        check("", &[]);
        check("[limits]\nexchanges = 1\nmessage = \"1B\"\nworkers = 1\n", &[]);
        check(
            "[limits]\nexchanges = 0\nmessage = \"400GiB\"\nheader = \"5B\"\n[commands]\nkeep = \"1000y\"\n",
            &[
                "5: 0 is too small: set it from 1 to 1000000",
                "6: \"400GiB\" is too large: set it from \"1B\" to \"1GiB\"",
                "7: \"5B\" is too small: set it from \"1KiB\" to \"1MiB\"",
                "9: \"1000years\" is too large: set it from \"1ms\" to \"1year 18h\"",
            ],
        );
    }
}
