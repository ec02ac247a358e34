//! `drawbridge run`: runs a gateway until it is told to stop, and has it read its files again when it is told to.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use gateway::{Gateway, Prepared, Serving, config::LogFormat, lifeline, logging, running};
use problem::Problem;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::check;
use crate::{
    failure::{Failure, Outcome, because, told_by},
    files, moments, notify,
    place::ConfigOption,
    terminal::{Out, say, some, warn},
};

/// Most lines that tell who may ask.
const TOLD: usize = 12;
/// What a shell reports for a program that a second Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Runs the gateway until it gets SIGTERM or Ctrl-C, then lets open exchanges end; SIGHUP has it read its files again
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    config: ConfigOption,

    /// Write the addresses that are listened on to this file once the gateway is ready, for ports that the configuration leaves to
    /// the system with `:0`
    #[arg(long, value_name = "FILE")]
    ports_file: Option<PathBuf>,

    /// End once the process of this number is gone, which has started this one: of `drawbridge demo` and `drawbridge mock`
    #[arg(long, value_name = "PROCESS", hide = true)]
    ends_with: Option<u32>,
}

impl Run {
    pub(crate) fn run(self) -> Outcome {
        if let Some(parent) = self.ends_with
            && !lifeline::end_with(parent).map_err(|error| because("cannot tie this process to another", &error))?
        {
            return Err(Failure::told());
        }
        let file = self.config.read()?;
        let log = logging::start(&file)?;
        let people = file.config.log.format == LogFormat::Human;
        let attention = |what: &dyn std::fmt::Display| {
            if people { warn(what) } else { logging::warning(&what.to_string()) }
        };
        let outcome = super::block_on(async {
            // First: a signal that comes during the start is answered after it.
            let mut hangup = listen(SignalKind::hangup())?;
            let prepared = Box::pin(Prepared::load(file, moments::now())).await?;
            for warning in check::warnings(&prepared) {
                attention(&warning);
            }
            let who = who_may_ask(&prepared);
            let mut signals = Signals::listen()?;
            let gateway = Box::pin(Gateway::start(prepared)).await.map_err(|error| refused(&error))?;
            if let Some(path) = &self.ports_file {
                files::replace(path, &running::ports(gateway.serving()), files::PUBLIC)?;
            }
            // A gateway goes on when nobody reads what it says.
            let _ = tell(gateway.serving(), &who);
            notify::tell(notify::READY);
            tokio::select! {
                () = signals.first() => {}
                () = reload_when_asked(&gateway, &mut hangup) => {}
            }
            notify::tell(notify::STOPPING);
            if people {
                say("stopping: open exchanges may end; once more stops at once");
            }
            let closed = tokio::select! {
                closed = Box::pin(gateway.stop()) => closed,
                () = signals.second() => std::process::exit(INTERRUPTED),
            };
            if closed == 0 {
                return Ok(());
            }
            attention(&format_args!("{} had to be closed with exchanges open", some(closed as u64, "connection")));
            Err(Failure::told())
        });
        drop(log);
        outcome
    }
}

/// Puts into words why the gateway does not start, with the cure where one is known.
fn refused(error: &gateway::StartError) -> Problem {
    match error.help() {
        Some(help) => told_by(error).help(help),
        None => told_by(error),
    }
}

/// Reads the files again at each SIGHUP; does not end. What is refused stands in the log, where all that happens while it runs does.
async fn reload_when_asked(gateway: &Gateway, hangup: &mut Signal) {
    while hangup.recv().await.is_some() {
        notify::tell(notify::RELOADING);
        match gateway.reload().await {
            Ok(changed) if changed.is_empty() => say("reloaded: nothing had changed"),
            Ok(changed) => {
                say(format_args!("reloaded: what lies in the files is in force (changed: {})", changed.join(", ")));
            }
            Err(problems) => warn(format_args!(
                "not reloaded: {}, told in the log; what was in force before stays in force",
                some(problems.len() as u64, "problem")
            )),
        }
        notify::tell(notify::READY);
    }
    std::future::pending::<()>().await;
}

fn listen(kind: SignalKind) -> Outcome<Signal> {
    signal(kind).map_err(|error| because("cannot listen for signals", &error).into())
}

/// The two ways of asking a process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Outcome<Self> {
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn second(&mut self) {
        self.first().await;
    }
}

/// Who may ask what of this member, one line each.
fn who_may_ask(prepared: &Prepared) -> Vec<String> {
    let own = prepared.gateway.member();
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    for agreement in prepared.in_force(moments::now()).filter(|agreement| agreement.provider() == own) {
        for grant in agreement.grants() {
            let systems: Vec<String> = grant.systems.iter().map(ToString::to_string).collect();
            let methods: Vec<&str> = grant.methods.iter().map(AsRef::as_ref).collect();
            let purposes: Vec<&str> = grant.purposes.iter().map(AsRef::as_ref).collect();
            let who = systems.join(", ");
            let what = format!("{} {}", grant.service, methods.join(", "));
            lines.insert(format!("{who}: {what}, for {}", purposes.join(", ")), agreement.id().to_owned());
        }
    }
    lines.into_iter().map(|(line, agreement)| format!("{line} (agreement {agreement})")).collect()
}

fn tell(serving: &Serving, who: &[String]) -> Outcome {
    let mut out = Out::new();
    out.heading(format_args!("drawbridge {}, gateway {}", env!("CARGO_PKG_VERSION"), serving.gateway))?;
    match serving.links {
        Some(links) => {
            let methods = some(serving.methods as u64, "method");
            out.line(format_args!("  links       {links}, for gateways of other members; {methods} bound"))?;
        }
        None => out.line("  links       none: this gateway asks, and answers nobody")?,
    }
    match serving.clients {
        Some((clients, false)) => out.line(format_args!(
            "  clients     {clients}, for systems of {} with a certificate",
            serving.gateway.member()
        ))?,
        Some((clients, true)) => {
            out.line(format_args!("  clients     {clients}, in PLAIN TEXT, without certificates"))?;
        }
        None => out.line("  clients     none: this gateway answers, and asks nobody")?,
    }
    out.line(format_args!("  operations  http://{0}/metrics and http://{0}/health", serving.operations))?;
    let (members, agreements) = (some(serving.members as u64, "member"), some(serving.agreements as u64, "agreement"));
    out.line(format_args!("  knows       {members} and {agreements}"))?;
    out.line(format_args!("  log         {} so far", some(serving.records, "record")))?;
    for (at, line) in who.iter().take(TOLD).enumerate() {
        out.line(format_args!("  {:<11} {line}", if at == 0 { "may ask us" } else { "" }))?;
    }
    if who.len() > TOLD {
        out.line(format_args!(
            "  {:<11} and {} more: `drawbridge agreement list`",
            "",
            who.len().saturating_sub(TOLD)
        ))?;
    }
    out.line(format_args!("drawbridge: {} is ready", serving.gateway))?;
    out.flush()
}
