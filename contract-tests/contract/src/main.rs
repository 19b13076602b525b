//! `contract`: stops a change of the contracts that would break somebody.
//!
//! Exit codes: 0, nothing breaks (there may be notices); 1, something breaks; 2, the comparison could not be made: wrong
//! arguments, a set that cannot be read or trusted, a baseline that is missing, altered or empty.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use contract::{DescriptorSet, Finding, RULES, baseline, compare, report};

/// Stops a change of the contracts that would break a caller, a consumer or a stored event.
#[derive(Parser)]
#[command(after_help = "Exit codes: 0 nothing breaks, 1 something breaks, 2 the comparison could not be made.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compares the contracts of this build with the released ones.
    Check {
        /// The released descriptor set; its SHA-256 lies beside it.
        #[arg(long, default_value_os_t = baseline::default_path())]
        baseline: PathBuf,
        /// How to write what is found.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Compares any two descriptor sets, made by any compiler, imports included.
    Diff {
        /// The old set.
        #[arg(long)]
        against: PathBuf,
        /// The new set; without it, the contracts of this build.
        new: Option<PathBuf>,
        /// Compare only files whose path begins so, e.g. holdfast/.
        #[arg(long, default_value = "")]
        only: String,
        /// How to write what is found.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Makes the contracts of this build the released ones.
    Accept {
        /// The descriptor set to replace; its SHA-256 lies beside it.
        #[arg(long, default_value_os_t = baseline::default_path())]
        baseline: PathBuf,
    },
    /// Lists every rule.
    Rules,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("contract: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Check { baseline, format } => Ok(tell(&baseline::check(&baseline)?, format)),
        Command::Diff { against, new, only, format } => {
            let old = DescriptorSet::read(&against, &only).with_context(|| format!("in {}", against.display()))?;
            let new = match new {
                Some(path) => DescriptorSet::read(&path, &only).with_context(|| format!("in {}", path.display()))?,
                None => DescriptorSet::decode(proto::contract::FILE_DESCRIPTOR_SET, &only)?,
            };
            Ok(tell(&compare(&old, &new), format))
        }
        Command::Accept { baseline } => {
            baseline::accept(&baseline, proto::contract::FILE_DESCRIPTOR_SET)
                .with_context(|| format!("cannot write {}", baseline.display()))?;
            println!("released: {}", baseline.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Rules => {
            for rule in RULES {
                println!("{:<48} {:<10} {}", rule.id, rule.tier.as_str(), rule.finds);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn tell(findings: &[Finding], format: Format) -> ExitCode {
    let format = match format {
        Format::Text => report::Format::Text,
        Format::Json => report::Format::Json,
    };
    print!("{}", report::write(findings, format));
    if report::breaking(findings) == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
