//! What was measured, as tables to read and as JSON to keep.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Options, case::Case, contender::Contender, run::Measured};

/// All measurements, by case and contender.
pub(crate) struct Report {
    machine: Vec<(&'static str, String)>,
    measured: BTreeMap<(&'static str, &'static str), Vec<Measured>>,
}

impl Report {
    /// Says what machine this is, and how fast its disk syncs where the contenders keep their files.
    ///
    /// # Errors
    ///
    /// When the disk cannot be tried.
    pub(crate) fn begin(folder: &Path, options: &Options) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let sync = sync_micros(folder)?;
        let build = if cfg!(debug_assertions) { "debug: figures mean nothing" } else { "release" };
        let callers = if options.client_tls { "mutual TLS" } else { "plain text HTTP/2 on loopback" };
        let machine = vec![
            ("cores", cores.to_string()),
            ("kernel", kernel.trim().to_owned()),
            ("load", load_average()),
            ("disk", format!("a write of 1 KiB and fdatasync takes {sync:.0} µs (median)")),
            ("nginx", version("nginx", "-v")),
            ("HAProxy", version("haproxy", "-v")),
            ("build", build.to_owned()),
            ("callers", format!("{callers}; between the two of a pair mutual TLS 1.3")),
        ];
        Ok(Self { machine, measured: BTreeMap::new() })
    }

    pub(crate) fn add(&mut self, contender: Contender, case: &Case, measured: Measured) {
        self.measured.entry((case.name(), contender.short())).or_default().push(measured);
    }

    /// Prints a table for each case.
    pub(crate) fn print(&self, cases: &[Case], contenders: &[Contender]) {
        for (what, value) in &self.machine {
            println!("{what:<8} {value}");
        }
        for case in cases {
            let runs = |contender: Contender| {
                self.measured.get(&(case.name(), contender.short())).map_or(&[][..], Vec::as_slice)
            };
            println!(
                "\n{} (median of {})",
                case.title(),
                runs(*contenders.first().unwrap_or(&Contender::Direct)).len()
            );
            let rate = |contender| median(runs(contender), |run| Some(run.rate));
            let (direct, nginx) = (rate(Contender::Direct), rate(Contender::Nginx));
            println!("{}", heading(case));
            for contender in contenders {
                println!("{}", line(*contender, case, runs(*contender), direct, nginx));
            }
        }
        println!(
            "\nCPU is in µs for each call (or row of a stream), user and system, of every process; `gateways` is both of a pair.\n\
             The spread is from the slowest to the fastest run, in % of the median. Memory is the largest resident, in MiB."
        );
    }

    /// Writes every measurement to `file`.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let machine: serde_json::Map<String, Value> =
            self.machine.iter().map(|(what, value)| ((*what).to_owned(), json!(value))).collect();
        let runs: Vec<Value> = self
            .measured
            .iter()
            .map(|((case, contender), runs)| json!({ "case": case, "contender": contender, "runs": runs }))
            .collect();
        let text = serde_json::to_string_pretty(&json!({ "machine": machine, "measured": runs }))?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
    }

    /// Fails when calls failed: a contender that answers wrongly is not compared.
    ///
    /// # Errors
    ///
    /// Names the first such contender and what it answered.
    pub(crate) fn judge(&self) -> Result<()> {
        for ((case, contender), runs) in &self.measured {
            let failures: u64 = runs.iter().map(|run| run.failures).sum();
            // nginx is known to give up on a call now and then when many ask at once.
            if failures > 0 {
                let first = runs.iter().find_map(|run| run.first_failure.as_deref()).unwrap_or_default();
                let told = format!("{failures} calls of {case} failed at {contender}; the first: {first}");
                if *contender == "drawbridge" || *contender == "direct" {
                    bail!(told);
                }
                println!("note: {told}");
            }
        }
        Ok(())
    }
}

fn heading(case: &Case) -> String {
    let unit = case.unit();
    let mut heading = format!(
        "{:<14}{:>10}{:>9}{:>10}{:>9}  {:>8}{:>10}{:>10}{:>10}{:>10}  {:>9}{:>9}  {:>9}{:>9}",
        "",
        format!("{unit}s/s"),
        "spread",
        "× direct",
        "× nginx",
        "CPU: client",
        "consumer",
        "provider",
        "back end",
        "gateways",
        "p50 µs",
        "p99 µs",
        "MiB cons.",
        "provider",
    );
    if case.is_long() {
        heading.push_str("  growth after the first quarter");
    }
    heading
}

fn line(contender: Contender, case: &Case, runs: &[Measured], direct: Option<f64>, nginx: Option<f64>) -> String {
    let rate = median(runs, |run| Some(run.rate));
    let spread = rate.map(|rate| {
        let rates = || runs.iter().map(|run| run.rate);
        (rates().fold(f64::MIN, f64::max) - rates().fold(f64::MAX, f64::min)) / rate * 100.0
    });
    let ratio = |to: Option<f64>| shown(rate.zip(to).map(|(rate, to)| rate / to), 3);
    let gateways = median(runs, |run| Some(run.consumer_cpu? + run.provider_cpu?));
    let digits = if case.unit() == "call" { 1 } else { 2 };
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory")]
    let mebibytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64 / 1_048_576.0);
    let mut line = format!(
        "{:<14}{:>10}{:>8}%{:>10}{:>9}  {:>11}{:>10}{:>10}{:>10}{:>10}  {:>9}{:>9}  {:>9}{:>9}",
        contender.name(),
        shown(rate, 0),
        shown(spread, 0),
        ratio(direct),
        ratio(nginx),
        shown(median(runs, |run| Some(run.client_cpu)), digits),
        shown(median(runs, |run| run.consumer_cpu), digits),
        shown(median(runs, |run| run.provider_cpu), digits),
        shown(median(runs, |run| Some(run.backend_cpu)), digits),
        shown(gateways, digits),
        shown(median(runs, |run| Some(run.p50)), 0),
        shown(median(runs, |run| Some(run.p99)), 0),
        shown(median(runs, |run| mebibytes(run.consumer_peak)), 1),
        shown(median(runs, |run| mebibytes(run.provider_peak)), 1),
    );
    if case.is_long() {
        #[expect(clippy::cast_precision_loss, reason = "bytes of memory")]
        let growth =
            |of: fn(&Measured) -> Option<i64>| shown(median(runs, |run| Some(of(run)? as f64 / 1_048_576.0)), 1);
        let (consumer, provider) = (growth(|run| run.consumer_growth), growth(|run| run.provider_growth));
        line.extend(["  ", &consumer, " and ", &provider, " MiB"]);
    }
    line
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

/// The middle one of what the runs say; `None` when one says nothing.
fn median(runs: &[Measured], of: impl Fn(&Measured) -> Option<f64>) -> Option<f64> {
    let values: Option<Vec<f64>> = runs.iter().map(of).collect();
    middle(values?)
}

fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *values.get(values.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

/// How long a small write takes to be durable in a file that has its size already, in microseconds.
fn sync_micros(folder: &Path) -> Result<f64> {
    let path = folder.join("sync");
    let mut file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(&vec![0; 1024 * 1024])?;
    file.sync_all()?;
    let mut took = Vec::new();
    for at in 0..200 {
        file.seek(SeekFrom::Start(at * 4096))?;
        let begun = Instant::now();
        file.write_all(&[1; 1024])?;
        file.sync_data()?;
        took.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    fs::remove_file(&path)?;
    middle(took).context("nothing was written")
}

/// How busy the machine was in the minute before.
fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let minute = text.split_whitespace().next().unwrap_or_default().to_owned();
    match minute.parse::<f64>() {
        Ok(busy) if busy > 0.5 => {
            format!("{minute} in the minute before: something else runs, and disturbs the figures")
        }
        _ => format!("{minute} in the minute before"),
    }
}

/// The first line of what a program says of its version.
fn version(program: &str, argument: &str) -> String {
    let output = ["/usr/sbin", "/usr/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.exists())
        .and_then(|path| Command::new(path).arg(argument).output().ok());
    let Some(output) = output else {
        return "not installed".to_owned();
    };
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(rate: f64, failures: u64) -> Measured {
        Measured {
            rate,
            client_cpu: 1.0,
            consumer_cpu: Some(20.0),
            provider_cpu: Some(30.0),
            backend_cpu: 2.0,
            p50: 10.0,
            p99: 90.0,
            consumer_peak: Some(1 << 20),
            provider_peak: Some(1 << 21),
            consumer_growth: None,
            provider_growth: None,
            failures,
            first_failure: (failures > 0).then(|| "grpc-status 7".to_owned()),
        }
    }

    #[test]
    fn a_line_shows_the_median_and_its_ratios() {
        let case = Case::all(true).remove(0);
        let runs = [measured(100.0, 0), measured(300.0, 0), measured(200.0, 0)];
        let line = line(Contender::Nginx, &case, &runs, Some(800.0), Some(200.0));
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[..6], ["nginx", "pair", "200", "100%", "0.250", "1.000"], "{line}");
        assert!(words.contains(&"50.0"), "both gateways' CPU: {line}");
    }

    #[test]
    fn failed_calls_of_the_direct_call_fail_the_comparison_and_say_why() {
        let case = Case::all(true).remove(0);
        let mut report = Report { machine: Vec::new(), measured: BTreeMap::new() };
        report.add(Contender::Nginx, &case, measured(1.0, 3));
        assert!(report.judge().is_ok());
        report.add(Contender::Direct, &case, measured(1.0, 3));
        let error = report.judge().unwrap_err().to_string();
        assert!(error.contains("3 calls of unary1") && error.contains("grpc-status 7"), "{error}");
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert_eq!(middle(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(middle(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(middle(Vec::new()), None);
    }
}
