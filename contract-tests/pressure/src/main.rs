//! Demonstrations under load: something is taken away from a mesh of real processes, or more is asked of it than it can do, and a table says what its
//! callers were told meanwhile. Each fails where a caller was told nothing, or something untrue, or where the audit finds a violation.
//!
//! Times are printed and not asserted: they are the machine's, the promises are ours.

mod breaking;
mod ejecting;
mod goodput;
mod healing;
mod load;
mod rolling;
mod slow_payment;
mod table;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Puts a mesh of processes under load and takes something away from it
#[derive(Parser)]
enum Demonstration {
    /// More is asked than can be done: what is let in is served, what is paid is finished
    Goodput(goodput::Arguments),
    /// Services that hang, die or are said to be ill are replaced by what watches over them
    Healing(healing::Arguments),
    /// A callee falls ill: its breaker leaves it alone and finds it well again
    Breaker(breaking::Arguments),
    /// One of three processes of a service falls ill: it is left out, and let in again
    Ejection(ejecting::Arguments),
    /// Payment takes up to a second, and its callers wait 300 ms
    SlowPayment(slow_payment::Arguments),
    /// Processes of services are replaced one after another
    Rolling(rolling::Arguments),
    /// All of them, briefly
    All,
}

/// On the main thread, so that the processes it starts end with it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Demonstration::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(demonstration: &Demonstration) -> Result<()> {
    match demonstration {
        Demonstration::Goodput(arguments) => goodput::run(arguments).await,
        Demonstration::Healing(arguments) => healing::run(arguments).await,
        Demonstration::Breaker(arguments) => breaking::run(arguments).await,
        Demonstration::Ejection(arguments) => ejecting::run(arguments).await,
        Demonstration::SlowPayment(arguments) => slow_payment::run(arguments).await,
        Demonstration::Rolling(arguments) => rolling::run(arguments).await,
        Demonstration::All => {
            healing::run(&healing::Arguments::default()).await?;
            breaking::run(&breaking::Arguments::default()).await?;
            ejecting::run(&ejecting::Arguments::default()).await?;
            slow_payment::run(&slow_payment::Arguments::brief()).await?;
            rolling::run(&rolling::Arguments::default()).await?;
            rolling::run(&rolling::Arguments::over_tls()).await?;
            goodput::run(&goodput::Arguments::default()).await
        }
    }
}
