//! `drawbridge status`: how a running gateway stands.

use std::net::SocketAddr;

use clap::Args;
use gateway::{
    running,
    status::{self, Attention, Certificate, DayLimit, FetchError, Peer, Reload, Status},
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

/// How a gateway is asked that the configuration does not lead to.
const ADDRESS: &str = "name its operations port with `--address`; `drawbridge run --ports-file` writes it to a file";

/// Tells how the running gateway stands: exchanges, peers, agreements, log, certificates
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    config: ConfigOption,

    /// The gateway's operations port, in place of the configuration's `operations.listen`
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "config")]
    address: Option<SocketAddr>,

    /// Also certificates and entries that do not end within 30 days
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
        FetchError::Other { .. } => "check `operations.listen`; a gateway of an older version tells no status",
    };
    told_by(error).help(help)
}

fn tell(status: &Status, all: bool, out: &mut Out) -> Outcome {
    head(status, out)?;
    peers(&status.peers, out)?;
    systems(status, out)?;
    agreements(status, out)?;
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
    out.line(format_args!(
        "  agreements  {} in force, {} to come, {} ended",
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

fn agreements(status: &Status, out: &mut Out) -> Outcome {
    if status.agreements.attention.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut table = Table::new([
        Column::left("AGREEMENT TO LOOK AT"),
        Column::left("CONSUMER"),
        Column::left("PROVIDER"),
        Column::left("END"),
        Column::left("REVIEW"),
    ]);
    for Attention { agreement, consumer, provider, ends_in_seconds, review_on, review_overdue, .. } in
        &status.agreements.attention
    {
        let review = if *review_overdue { format!("OVERDUE since {review_on}") } else { format!("due on {review_on}") };
        table.row([agreement.clone(), consumer.clone(), provider.clone(), when::end(*ends_in_seconds), review], out)?;
    }
    table.finish(out)
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
