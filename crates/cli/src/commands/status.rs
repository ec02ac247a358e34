//! `drawbridge status`: how a running gateway stands.

use std::net::SocketAddr;

use clap::Args;
use gateway::{
    running,
    status::{self, Agreement, AgreementState, Certificate, DayLimit, FetchError, Peer, Reload, Status},
    when,
};
use problem::Problem;

use crate::{
    failure::{Failure, Outcome, because, told_by},
    place::ConfigOption,
    table::{Column, Table},
    terminal::{Out, grouped, some, warn},
};

/// Certificates are told that end within this, in seconds; with `--all` every one is.
const NEAR: i64 = 30 * 86_400;
/// Most agreements that are told; with `--all` every one is.
const MOST_AGREEMENTS: usize = 50;

/// How a gateway is asked that the configuration does not lead to.
const ADDRESS: &str = "name its operations port with `--address`; `drawbridge run --ports-file` writes it to a file";

/// Tells how the running gateway stands: exchanges, peers, agreements, log, certificates
///
/// It asks the gateway's operations port, so the gateway has to run on this machine or that port has to be reached. Of each agreement it
/// says whether it is in force, near its end, over, yet to come, or cannot be served because the contract that is loaded is another one.
/// The exit code is 1 when the gateway takes no exchanges, or does not answer.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    config: ConfigOption,

    /// The gateway's operations port, in place of the configuration's `operations.listen`
    #[arg(long, value_name = "IP:PORT", conflicts_with = "config")]
    address: Option<SocketAddr>,

    /// Also certificates and entries that do not end within 30 days, agreements that ended longer ago than that, and more than 50
    /// agreements
    #[arg(long, conflicts_with = "json")]
    all: bool,

    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(crate) fn run(self) -> Outcome {
        let status = match self.address {
            Some(address) => {
                super::block_on(async { Ok(status::fetch(address).await) })?.map_err(|error| failed(&error))?
            }
            None => configured(&self.config)?,
        };
        let mut out = Out::new();
        if self.json {
            let text = serde_json::to_string_pretty(&status).map_err(|error| because("cannot write JSON", &error))?;
            out.line(text)?;
        } else {
            tell(&status, self.all, &mut out)?;
        }
        out.flush()?;
        if status.health.serving { Ok(()) } else { Err(Failure::told()) }
    }
}

/// Asks the gateway of a configuration, which may have been broken since that gateway was started.
fn configured(config: &ConfigOption) -> Outcome<Status> {
    let (file, salvaged) = config.salvage().map_err(|failure| {
        let mut problems = failure.into_problems();
        problems.push(Problem::new("", "where the gateway is cannot be told").help(ADDRESS));
        Failure::from(problems)
    })?;
    match super::block_on(async { Ok(running::find(&file).await) })? {
        Ok(status) => {
            if !salvaged.problems.is_empty() {
                warn(format_args!(
                    "`{}` has {}, as `drawbridge check` tells; what is told here is of the gateway that runs",
                    file.toml.name().display(),
                    some(salvaged.problems.len() as u64, "error")
                ));
            }
            Ok(status)
        }
        Err(error) => {
            let mut problems = salvaged.problems;
            problems.push(failed(&error));
            Err(problems.into())
        }
    }
}

fn failed(error: &FetchError) -> Problem {
    let help = match error {
        FetchError::Nobody { .. } => {
            "start the gateway with `drawbridge run`; `drawbridge doctor` tells what hinders it"
        }
        FetchError::Late { .. } => "look at the gateway's log, and at the machine's load",
        FetchError::NoPort => ADDRESS,
        FetchError::Another { .. } => {
            "give each gateway of this machine an `operations.listen` of its own, or name the port with `--address`"
        }
        FetchError::OtherFolder { .. } => {
            "name the configuration that it was started with, or its port with `--address`; where it was another user who started it, ask as that user"
        }
        FetchError::Other { .. } => "check `operations.listen`; a gateway of an older version tells no status",
    };
    told_by(error).help(help)
}

fn tell(status: &Status, all: bool, out: &mut Out) -> Outcome {
    head(status, out)?;
    peers(&status.peers, out)?;
    systems(status, out)?;
    agreements(&status.agreements.each, all, out)?;
    limits(&status.agreements.limits, out)?;
    certificates(&status.certificates, all, out)
}

fn head(status: &Status, out: &mut Out) -> Outcome {
    let health = match &status.health.why {
        None => "serving".to_owned(),
        Some(why) => format!("NOT SERVING: {why}"),
    };
    out.heading(format_args!("{}: {health}", status.gateway))?;
    out.line(format_args!(
        "  version     {}, up {} (since {})",
        status.version,
        when::length(status.uptime_seconds),
        status.started
    ))?;
    let port = |address: Option<SocketAddr>| address.map_or_else(|| "none".to_owned(), |address| address.to_string());
    out.line(format_args!(
        "  ports       links {}, clients {}, operations {}",
        port(status.ports.links),
        port(status.ports.clients),
        status.ports.operations
    ))?;
    reload(&status.reload, out)?;
    let exchanges = status.exchanges;
    out.line(format_args!(
        "  exchanges   {} now, of at most {}",
        grouped(exchanges.now as u64),
        grouped(exchanges.most as u64)
    ))?;
    let log = &status.log;
    let free = log.free_bytes.map(|free| format!("; {} free on that disk", when::bytes(free))).unwrap_or_default();
    out.line(format_args!(
        "  log         {} in {}{free}",
        some(log.records, "record"),
        when::bytes(log.journal_bytes)
    ))?;
    let age = log.checkpoint_age_seconds.map(|age| format!(", made {} ago", when::length(age))).unwrap_or_default();
    let rest = log.records.saturating_sub(log.checkpoint_records);
    let rest = if rest == 0 { String::new() } else { format!("; {} not covered yet", grouped(rest)) };
    out.line(format_args!("  checkpoint  covers {}{age}{rest}", some(log.checkpoint_records, "record")))?;
    let agreements = &status.agreements;
    let in_part = agreements.each.iter().filter(|one| one.state == AgreementState::ServedInPart).count();
    let in_part = if in_part == 0 { String::new() } else { format!(" ({in_part} of them SERVED IN PART)") };
    let not_served = match agreements.not_served {
        0 => String::new(),
        count => format!(" {count} CANNOT BE SERVED,"),
    };
    out.line(format_args!(
        "  agreements  {} in force{in_part},{not_served} {} to come, {} ended",
        agreements.in_force, agreements.to_come, agreements.ended
    ))?;
    broken(&agreements.broken, out)
}

fn broken(problems: &[String], out: &mut Out) -> Outcome {
    if problems.is_empty() {
        return Ok(());
    }
    out.line("  BROKEN      these files permit nothing:")?;
    problems
        .iter()
        .flat_map(|problem| problem.lines())
        .try_for_each(|line| out.line(format_args!("              {line}")))
}

fn reload(reload: &Reload, out: &mut Out) -> Outcome {
    // A gateway of an older version does not tell.
    if reload.in_force_since.is_empty() {
        return Ok(());
    }
    let times = if reload.taken == 0 { "at the start".to_owned() } else { some(reload.taken, "reload") };
    out.line(format_args!("  files       in force as of {} ({times})", reload.in_force_since))?;
    let Some(refused) = &reload.refused else { return Ok(()) };
    out.line(format_args!("  REFUSED     what lies in the files since {} is not in force:", refused.since))?;
    for line in refused.problems.iter().flat_map(|problem| problem.lines()) {
        out.line(format_args!("              {line}"))?;
    }
    Ok(())
}

fn peers(peers: &[Peer], out: &mut Out) -> Outcome {
    if peers.is_empty() {
        return out.line("\nno gateway was asked since the start, and none is connected");
    }
    out.line("")?;
    let mut table = Table::new([
        Column::left("PEER"),
        Column::left("DIRECTION"),
        Column::right("CONNECTIONS"),
        Column::right("STREAMS"),
        Column::left("KEYS AGREED BY"),
        Column::left("STATE"),
    ]);
    let row = |peer: &Peer, direction: &str, open: status::Open, keys: &str, state: String| {
        let number = |number: usize| grouped(number as u64);
        [
            peer.gateway.clone(),
            direction.to_owned(),
            number(open.connections),
            number(open.streams),
            keys.to_owned(),
            state,
        ]
    };
    for peer in peers {
        if let Some(dialled) = &peer.dialled {
            let state = match &dialled.down {
                Some(down) => format!("DOWN: {}; {}", down.why, down.cure),
                None if dialled.open.connections == 0 => "idle".to_owned(),
                None => "up".to_owned(),
            };
            let keys = dialled.key_exchange.as_deref().unwrap_or_default();
            table.row(row(peer, "dialled", dialled.open, keys, state), out)?;
        }
        if let Some(open) = peer.accepted {
            table.row(row(peer, "accepted", open, "", "up".to_owned()), out)?;
        }
    }
    table.finish(out)
}

fn systems(status: &Status, out: &mut Out) -> Outcome {
    if status.systems.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut table = Table::new([Column::left("SYSTEM"), Column::right("CONNECTIONS"), Column::right("STREAMS")]);
    for system in &status.systems {
        let open = [system.open.connections, system.open.streams].map(|number| grouped(number as u64));
        let [connections, streams] = open;
        table.row([system.system.clone(), connections, streams], out)?;
    }
    table.finish(out)
}

/// Each agreement; below one that cannot be served, why not and what mends it.
fn agreements(agreements: &[Agreement], all: bool, out: &mut Out) -> Outcome {
    let is_history = |one: &&Agreement| one.state == AgreementState::Ended && one.ends_in_seconds < -NEAR;
    let mut told: Vec<&Agreement> = agreements.iter().filter(|one| all || !is_history(one)).collect();
    let more = if all { 0 } else { told.len().saturating_sub(MOST_AGREEMENTS) };
    told.truncate(told.len().saturating_sub(more));
    if told.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut table = Table::new([
        Column::left("AGREEMENT"),
        Column::left("CONSUMER"),
        Column::left("PROVIDER"),
        Column::left("REVIEW"),
        Column::left("STATE"),
    ]);
    for one in told {
        let review = match (one.state, one.review_overdue) {
            (AgreementState::Ended, _) => String::new(),
            (_, true) => format!("OVERDUE since {}", one.review_on),
            (_, false) => format!("due on {}", one.review_on),
        };
        let cells = [one.agreement.clone(), one.consumer.clone(), one.provider.clone(), review, state(one)];
        table.row(cells, out)?;
        for (at, grant) in one.grants.iter().enumerate() {
            let Some(why) = &grant.why else { continue };
            let number = at.saturating_add(1);
            let under = |text: String| [String::new(), String::new(), String::new(), String::new(), text];
            table.row(under(format!("grant {number}, of {}: {why}", grant.agreed)), out)?;
            table.row(under(format!("= help: {}", grant.cure.as_deref().unwrap_or_default())), out)?;
        }
    }
    table.finish(out)?;
    if more == 0 {
        Ok(())
    } else {
        out.line(format_args!("and {}: `--all` tells them too", some(more as u64, "agreement")))
    }
}

fn state(one: &Agreement) -> String {
    let end = when::end(one.ends_in_seconds);
    let hindered = one.grants.iter().any(|grant| !grant.served);
    match (one.state, &one.ended_by) {
        (AgreementState::Ended, Some(by)) => format!("{end}, by {by}"),
        (AgreementState::Ended, None) => format!("{end}: its time is over"),
        (AgreementState::ToCome, _) if hindered => {
            format!("not in force yet, from {}; CANNOT BE SERVED as it is", one.from)
        }
        (AgreementState::ToCome, _) => format!("not in force yet, from {}", one.from),
        (AgreementState::NotServed, _) => format!("CANNOT BE SERVED, {end}"),
        (AgreementState::ServedInPart, _) => format!("SERVED IN PART, {end}"),
        (AgreementState::NearItsEnd, _) => format!("in force, NEAR ITS END: {end}"),
        (AgreementState::InForce, _) => format!("in force, {end}"),
    }
}

fn limits(limits: &[DayLimit], out: &mut Out) -> Outcome {
    if limits.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut table = Table::new([
        Column::left("LIMIT OF AGREEMENT"),
        Column::left("CONSUMER"),
        Column::left("PROVIDER"),
        Column::left("GRANT"),
        Column::right("USED TODAY"),
        Column::right("OF"),
    ]);
    for DayLimit { agreement, consumer, provider, grant, service, limit, used, most } in limits {
        let counted = if limit == "rows_per_day" { "rows" } else { "calls" };
        let cells = [
            agreement.clone(),
            consumer.clone(),
            provider.clone(),
            format!("{grant}: {service}"),
            grouped(*used),
            format!("{} {counted}", grouped(*most)),
        ];
        table.row(cells, out)?;
    }
    table.finish(out)
}

fn certificates(certificates: &[Certificate], all: bool, out: &mut Out) -> Outcome {
    let told: Vec<&Certificate> =
        certificates.iter().filter(|certificate| all || certificate.ends_in_seconds <= NEAR).collect();
    if told.is_empty() {
        let soonest = certificates.iter().min_by_key(|certificate| certificate.ends_in_seconds);
        return match soonest {
            Some(soonest) => out.line(format_args!(
                "\nno certificate or entry ends within 30 days; the first is {}, which {}",
                soonest.what,
                when::end(soonest.ends_in_seconds)
            )),
            None => Ok(()),
        };
    }
    out.line("")?;
    let mut table = Table::new([Column::left("CERTIFICATE OR ENTRY"), Column::left("END"), Column::left("UNTIL")]);
    for certificate in told {
        let cells = [certificate.what.clone(), when::end(certificate.ends_in_seconds), certificate.until.clone()];
        table.row(cells, out)?;
    }
    table.finish(out)
}
