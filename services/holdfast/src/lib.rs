//! The one binary of Holdfast: every service, and the commands to run, use, check and measure them.
//!
//! * [`up`]: the whole mesh on this computer with one command;
//! * [`serve`]: one or more services in this process, on a laptop and in a pod alike;
//! * [`token`], [`smoke`], [`demo`], [`load`], [`audit`], [`trace`]: for a mesh that runs, started by either;
//! * [`outbox`], [`dlq`], [`saga`], [`view`], [`breaker`], [`inject`]: for its operators.
//!
//! In one process or in seven, a service always calls another over real gRPC and hears of it over a real broker: the wire is the product.
//! Nothing here decides anything about bookings.

mod actor;
pub mod api;
pub mod audit;
pub mod breaker;
pub mod business;
pub mod cli;
pub mod demo;
pub mod dlq;
mod duration;
mod failure;
mod health;
pub mod home;
pub mod inject;
pub mod load;
mod operator;
pub mod outbox;
mod ports;
mod print_config;
pub mod saga;
pub mod serve;
pub mod service;
mod signals;
pub mod smoke;
mod steps;
mod terminal;
pub mod token;
pub mod trace;
pub mod up;
pub mod view;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, FromArgMatches as _};

use cli::{Cli, Command};

/// Runs the command line and answers the exit code: 0 for success, 1 for failure (printed to standard error), 2 for a wrong command line, 3
/// where an operator's command changed nothing, as nobody told it to.
#[must_use]
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = Cli::command().try_get_matches_from(words).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((cli, matches))
    });
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version come this way too, with code 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if let Command::Serve(args) = &cli.command
        && args.print_config
    {
        let command = Cli::command();
        let (Some(serve), Some((_, matches))) = (command.find_subcommand("serve"), matches.subcommand()) else {
            unreachable!("it was parsed as this subcommand")
        };
        print_config::table(serve, matches).print();
        return ExitCode::SUCCESS;
    }
    match run(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", failure::describe(&error));
            if error.is::<operator::Withheld>() { ExitCode::from(operator::WITHHELD) } else { ExitCode::FAILURE }
        }
    }
}

/// On the main thread: it lives as long as the process, and so do the children that are tied to it.
fn run(command: &Command) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Up(args) => up::run(args).await,
            Command::Serve(args) => serve::run(args).await,
            Command::Token(args) => token::run(args),
            Command::Smoke(args) => smoke::run(args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Load(args) => load::run(args).await,
            Command::Audit(args) => audit::run(args).await,
            Command::Trace(args) => trace::run(args).await,
            Command::Outbox(args) => outbox::run(args).await,
            Command::Dlq(args) => dlq::run(args).await,
            Command::Saga(args) => saga::run(args).await,
            Command::View(args) => view::run(args).await,
            Command::Breaker(args) => breaker::run(args).await,
            Command::Inject(args) => inject::run(args).await,
        }
    });
    // Whatever still blocks (an installation that was interrupted) does not hold the process up.
    runtime.shutdown_background();
    outcome
}
