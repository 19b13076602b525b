//! The audit in the background: every so often, told by metrics and log lines.
//!
//! It reads everything there is into memory, so it stands aside where there is too much of it: see [`WatchArgs::audit_rows_max`].

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use mesh::config::DataArgs;
use mesh::reconcile::Reporter;

use super::{Stores, examine};
use crate::duration;

/// How long a difference must stay before it counts.
const SETTLE: Duration = Duration::from_secs(10);
/// How long a saga may run before it counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// How often, and how much of it.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub struct WatchArgs {
    /// How often a process that runs every service audits all of them in the background; 0 never
    #[arg(long, env = "HOLDFAST_AUDIT_EVERY", value_name = "TIME", default_value = "5m", value_parser = duration::parse)]
    pub audit_every: Duration,
    /// Reservations beyond which the background audit stands aside, as it reads all of them at once: about 10 KB each, with what belongs to them
    #[arg(long, env = "HOLDFAST_AUDIT_ROWS_MAX", value_name = "COUNT", default_value_t = 20_000)]
    pub audit_rows_max: u64,
}

/// Audits for ever, the first time after `every`.
///
/// # Cancel safety
/// Safe: it only reads.
pub(crate) async fn run(data: &DataArgs, ledger: &Path, every: Duration, rows_max: u64) {
    let mut reporter = Reporter::new("audit");
    loop {
        tokio::time::sleep(every).await;
        match audit(data, ledger, rows_max, &mut reporter).await {
            Ok(()) => {}
            Err(error) => tracing::warn!(error = format!("{error:#}"), "cannot audit now"),
        }
    }
}

async fn audit(data: &DataArgs, ledger: &Path, rows_max: u64, reporter: &mut Reporter) -> Result<()> {
    let stores = Stores::open(data.clone(), ledger.to_owned(), STUCK_AFTER)?;
    let rows = stores.reservations().await?;
    if rows > rows_max {
        tracing::warn!(rows, rows_max, "too much to audit in the background: run `holdfast audit` beside it");
        return Ok(());
    }
    let report = examine(&stores, SETTLE).await?;
    tracing::debug!(checked = report.checked(), violations = report.violations(), "audited");
    reporter.tell(report.checked() as u64, report.differences());
    Ok(())
}
