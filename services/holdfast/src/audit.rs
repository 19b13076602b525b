//! `holdfast audit`: whether what the services have stored fits together.
//!
//! Each service is right by itself as far as its database can enforce it; this compares them with each other. It only reads. The databases
//! cannot be read at one moment while the system runs, so a difference counts as a violation only if every reading within the settling time
//! shows the very same one.

mod facts;
mod report;
mod rules;
mod stores;
pub(crate) mod watch;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use mesh::config::DataArgs;
use mesh::store::{DatabaseUrl, InvalidDatabaseUrl};
use tokio::time::sleep;

use crate::api::TargetArgs;
use crate::duration::{self, readable};
use crate::home::{HomeArgs, Occupant};
use crate::terminal::say;
use facts::Facts;
pub(crate) use report::Report;
use rules::{Finding, RULES};
pub(crate) use stores::Stores;
pub use watch::WatchArgs;

/// Between two readings.
const PAUSE: Duration = Duration::from_millis(300);

/// Compares what all services have stored and prints every invariant with a verdict.
///
/// Reads each service's database beside it, without a lock and without writing. On a live system a difference counts only if it stays the same
/// for the whole settling time. Exit code 1 when an invariant is violated.
///
/// With --json it prints one object: verdict ("holds" or "violated"), seconds, checked and violations (counts), and rules, a list of rule (its
/// name), verdict, checked and violations (sentences).
#[derive(clap::Args, Clone, Debug)]
#[command(verbatim_doc_comment)]
pub struct AuditArgs {
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
    /// How long a difference must stay before it counts, e.g. 5s
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    pub settle: Duration,
    /// How long a saga may run before it counts as stuck
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    pub stuck_after: Duration,
    /// PostgreSQL with the services' schemas [default: that of the running `up`, else the SQLite files]
    #[arg(long, value_name = "URL", env = "HOLDFAST_DATABASE_URL", hide_env_values = true, value_parser = database_url)]
    pub database: Option<String>,
    /// Folder of the SQLite files and of the payment simulator's books [default: data/ in the data folder]
    #[arg(long, value_name = "DIR", env = "HOLDFAST_DATA_DIR")]
    pub database_dir: Option<PathBuf>,
    /// The payment simulator's books [default: as `up` names them]
    #[arg(long, value_name = "FILE", env = "HOLDFAST_PAYMENT_SIMULATOR_LEDGER")]
    pub ledger: Option<PathBuf>,
    /// The data folder of `up`.
    #[command(flatten)]
    pub home: HomeArgs,
}

impl AuditArgs {
    /// Those that go with another command's.
    #[must_use]
    pub fn of(target: &TargetArgs, settle: Duration) -> Self {
        Self {
            json: false,
            settle,
            stuck_after: Duration::from_secs(60),
            database: None,
            database_dir: None,
            ledger: None,
            home: target.home.clone(),
        }
    }
}

fn database_url(text: &str) -> Result<String, InvalidDatabaseUrl> {
    text.parse::<DatabaseUrl>().map(|_| text.to_owned())
}

/// Opens the databases.
///
/// # Errors
/// One cannot be reached.
pub(crate) fn open(args: &AuditArgs) -> Result<Stores> {
    let home = args.home.open()?;
    let running = match home.occupant()? {
        Occupant::Mesh(running) => running.database,
        Occupant::Starting | Occupant::Nobody => None,
    };
    let url = args.database.clone().or_else(|| running.filter(|_| args.database_dir.is_none()));
    let ledger = match (&args.ledger, &args.database_dir) {
        (Some(ledger), _) => ledger.clone(),
        (None, Some(dir)) => dir.join("payment-simulator.jsonl"),
        (None, None) => home.ledger(url.as_deref()),
    };
    let data_dir = args.database_dir.clone().unwrap_or_else(|| home.data());
    let database_url = url.map(|url| url.parse()).transpose()?;
    Stores::open(DataArgs { data_dir, database_url }, ledger, args.stuck_after)
}

/// Runs the command.
///
/// # Errors
/// A database cannot be read, or an invariant is violated.
pub async fn run(args: &AuditArgs) -> Result<()> {
    let report = examine(&open(args)?, args.settle).await?;
    if args.json {
        say(report.json());
    } else {
        report.print();
    }
    judge(&report)
}

/// Reads until no difference is left, or those left have stayed the same for the settling time; prints the table.
///
/// # Errors
/// A database cannot be read, or an invariant is violated.
pub(crate) async fn verdict(stores: &Stores, settle: Duration) -> Result<()> {
    let report = examine(stores, settle).await?;
    report.print();
    judge(&report)
}

fn judge(report: &Report) -> Result<()> {
    match report.violations() {
        0 => Ok(()),
        violations => bail!("{violations} violations, seen in every reading of {}", readable(report.took())),
    }
}

/// Reads until no difference is left, or those left have stayed the same for the settling time.
///
/// # Errors
/// A database cannot be read.
async fn examine(stores: &Stores, settle: Duration) -> Result<Report> {
    let started = Instant::now();
    let mut suspects: Option<Vec<BTreeSet<String>>> = None;
    loop {
        let findings = check(&stores.facts().await?);
        let found = findings.iter().map(|finding| finding.violations.iter().cloned().collect());
        let remaining: Vec<BTreeSet<String>> = match suspects {
            None => found.collect(),
            Some(before) => {
                before.iter().zip(found).map(|(before, now): (_, BTreeSet<String>)| before & &now).collect()
            }
        };
        if remaining.iter().all(BTreeSet::is_empty) || started.elapsed() >= settle {
            return Ok(Report::new(findings, remaining, started.elapsed()));
        }
        suspects = Some(remaining);
        sleep(PAUSE).await;
    }
}

/// One reading of a system that has come to rest: what is wrong with it, each with the name of the invariant. What changed within
/// `stuck_after` may still be on its way.
///
/// # Errors
/// A database cannot be read.
pub async fn violations(data: DataArgs, ledger: PathBuf, stuck_after: Duration) -> Result<Vec<String>> {
    let findings = check(&Stores::open(data, ledger, stuck_after)?.facts().await?);
    let named = RULES.iter().zip(findings).flat_map(|(rule, finding)| {
        finding.violations.into_iter().map(move |violation| format!("{}: {violation}", rule.name))
    });
    Ok(named.collect())
}

fn check(facts: &Facts) -> Vec<Finding> {
    RULES.iter().map(|rule| (rule.check)(facts)).collect()
}
