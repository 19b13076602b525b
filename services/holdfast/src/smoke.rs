//! `holdfast smoke`: one reservation from end to end on a running mesh.

mod journey;

use std::time::Duration;

use anyhow::Result;

use crate::api::TargetArgs;
use crate::duration;
use crate::steps::Steps;
use crate::terminal::{Style, paint, say};
use journey::Journey;

/// Checks a running mesh from end to end: lists a place, books, pays, earns miles, is told, cancels, gets everything back.
///
/// Each step is printed with its time. The first failing step is printed with the details of the answer and ends the check with exit code 1.
/// It leaves a deleted listing and a cancelled reservation behind, of users made for this run.
#[derive(clap::Args, Clone, Debug)]
pub struct SmokeArgs {
    /// How long to wait for what follows from events, such as the message and the view
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration::parse)]
    pub patience: Duration,
    /// The mesh to check.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Runs the command.
///
/// # Errors
/// The mesh cannot be found, or a step failed (which has been printed then).
pub async fn run(args: &SmokeArgs) -> Result<()> {
    let target = args.target.open()?;
    let mut steps = Steps::new(args.patience);
    let journey = Journey::new(&target)?;
    journey.health(&target, &mut steps).await?;
    let offer = journey.offer(&mut steps).await?;
    let booked = journey.book(&offer, &mut steps).await?;
    journey.check_booked(&offer, &booked, &mut steps).await?;
    journey.cancel(&offer, &booked, &mut steps).await?;
    say(format_args!("\n{} {}", paint(Style::Good, "all well:"), steps.summary()));
    Ok(())
}
