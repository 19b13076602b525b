//! `contract`: stops a change of the contracts that would break somebody, and releases those that do not.
//!
//! Exit codes: 0, nothing breaks (there may be notices); 1, something breaks, or an event is declared as it must not; 2, the comparison
//! could not be made: wrong arguments, a set that cannot be read or trusted, a baseline that is missing, altered or empty.

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use contract::{
    Baseline, DescriptorSet, Finding, Project, RULES, ReleaseError, Surface, Version,
    baseline::OURS,
    clients::{self, Language},
    compare, consumers, explain, guard, judge, reference,
    release::{self, Cut},
    report, service_config, waiver, waivers,
};

/// Stops a change of the contracts that would break a caller, a consumer or a stored event.
#[derive(Parser)]
#[command(after_help = "Exit codes: 0 nothing breaks, 1 something breaks, 2 the comparison could not be made.")]
struct Arguments {
    /// The repository with the baseline, the waivers and the documents.
    #[arg(long, global = true, default_value_os_t = Project::own_root())]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compares contracts with every supported release and with what consumers expect, and looks at how events are declared.
    Check {
        /// A descriptor set, imports included; without it, the contracts of this build.
        new: Option<PathBuf>,
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
        /// Compare only by these rules, or by those of these tiers, separated by commas.
        #[arg(long, value_delimiter = ',')]
        rules: Vec<String>,
        /// How to write what is found.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Writes an exception for a finding that `check` tells of.
    Waive {
        /// `<symbol>::<rule>`.
        finding: String,
        /// Why nobody is hurt, or why it must be.
        #[arg(long)]
        reason: String,
        /// Who answers for it.
        #[arg(long)]
        owner: String,
        /// The last release that may ship it.
        #[arg(long)]
        expires: Version,
        /// The set to compare, as for `check`.
        #[arg(long)]
        new: Option<PathBuf>,
    },
    /// Makes the committed contracts a release: adds it to the baseline, takes its waivers, writes the changelog.
    Release {
        /// Greater than the last; how much, what it holds decides.
        version: Version,
        /// The day, YYYY-MM-DD; without it, that of the last commit.
        #[arg(long)]
        date: Option<String>,
        /// Begin a baseline where there is none.
        #[arg(long)]
        first: bool,
    },
    /// Ends the support of a release: nothing is compared with it any more.
    Retire {
        /// Any release but the last.
        version: Version,
    },
    /// Looks for commits that moved the baseline as they must not, and makes every release again from its sources.
    Guard {
        /// Fail, too, where git has not all of the history.
        #[arg(long)]
        require_history: bool,
    },
    /// Tells of a rule what it finds, whom breaking it hurts, and the ways out.
    Explain {
        /// As `check` names it.
        rule: String,
    },
    /// Writes the API reference.
    Reference,
    /// Generates a client in another language, as a package with its defaults.
    Clients {
        /// Which language.
        #[arg(long, value_enum)]
        lang: Lang,
        /// The package's folder, empty or not there yet.
        #[arg(long)]
        out: PathBuf,
    },
    /// Holds servers to the contracts, at any address: runs `provider`, which is built beside this program.
    #[command(disable_help_flag = true)]
    Verify {
        /// As `provider --help` tells.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Prints how clients' calls behave by default, as a gRPC service config.
    ServiceConfig,
    /// Lists what the contracts promise, a line each, sorted.
    Surface,
    /// Lists every rule.
    Rules,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
    Github,
}

#[derive(Clone, Copy, ValueEnum)]
enum Lang {
    Python,
    Typescript,
    Go,
    Java,
}

impl From<Lang> for Language {
    fn from(lang: Lang) -> Self {
        match lang {
            Lang::Python => Self::Python,
            Lang::Typescript => Self::TypeScript,
            Lang::Go => Self::Go,
            Lang::Java => Self::Java,
        }
    }
}

impl From<Format> for report::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
            Format::Github => Self::Github,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&Project::at(&arguments.root), arguments.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("contract: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(project: &Project, command: Command) -> Result<ExitCode> {
    match command {
        Command::Check { new, format } => check(project, new.as_deref(), format),
        Command::Diff { against, new, only, rules, format } => {
            let old = DescriptorSet::read(&against, &only).with_context(|| format!("in {}", against.display()))?;
            let findings = by_rules(compare(&old, &set(new.as_deref(), &only)?), &rules)?;
            print!("{}", report::write(&findings, format.into()));
            Ok(code(report::breaking(&findings) == 0))
        }
        Command::Waive { finding, reason, owner, expires, new } => {
            waive(project, &finding, (&reason, &owner), expires, new.as_deref())
        }
        Command::Release { version, date, first } => release(project, version, date, first),
        Command::Retire { version } => {
            release::retire(project, version)?;
            println!("nothing is compared with {version} any more");
            Ok(ExitCode::SUCCESS)
        }
        Command::Guard { require_history } => guard(project, require_history),
        Command::Explain { rule } => explain_rule(&rule),
        Command::Reference => {
            reference::write(&project.reference(), &set(None, OURS)?).context("the reference cannot be written")?;
            println!("written: {}", project.reference().display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Clients { lang, out } => {
            clients::generate(project, &set(None, OURS)?, lang.into(), &out)?;
            println!("written: {}", out.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Verify { arguments } => verify(&arguments),
        Command::ServiceConfig => {
            print!("{}", service_config::json(&set(None, OURS)?));
            Ok(ExitCode::SUCCESS)
        }
        Command::Surface => {
            print!("{}", Surface::of(&set(None, OURS)?));
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

/// The set in a file, or that of this build.
fn set(path: Option<&Path>, only: &str) -> Result<DescriptorSet> {
    match path {
        Some(path) => DescriptorSet::read(path, only).with_context(|| format!("in {}", path.display())),
        None => Ok(DescriptorSet::decode(proto::contract::FILE_DESCRIPTOR_SET, only)?),
    }
}

/// The findings by these rules or tiers; all, if none is named.
fn by_rules(mut findings: Vec<Finding>, names: &[String]) -> Result<Vec<Finding>> {
    if let Some(unknown) = names.iter().find(|name| !RULES.iter().any(|rule| rule.is_called(name))) {
        bail!("{unknown} is neither a rule nor a tier; `contract rules` lists them");
    }
    findings.retain(|finding| names.is_empty() || names.iter().any(|name| finding.rule.is_called(name)));
    Ok(findings)
}

fn code(passes: bool) -> ExitCode {
    if passes { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn check(project: &Project, new: Option<&Path>, format: Format) -> Result<ExitCode> {
    let (baseline, waivers) = (Baseline::read(&project.baseline())?, waivers::read(&project.waivers())?);
    let judgement = judge(&baseline, &waivers, &consumers::read(&project.consumers())?, &set(new, OURS)?);
    print!("{}", report::judgement(&judgement, format.into()));
    Ok(code(judgement.passes()))
}

fn waive(project: &Project, id: &str, who: (&str, &str), expires: Version, new: Option<&Path>) -> Result<ExitCode> {
    let made = waiver(&Baseline::read(&project.baseline())?, &set(new, OURS)?, id, who, expires)?;
    // One that covered an earlier form of the change gives way.
    let mut waivers = waivers::read(&project.waivers())?;
    waivers.retain(|waiver| waiver.id() != made.id());
    waivers.push(made);
    waivers::write(&project.waivers(), &waivers)?;
    println!("waived until {expires}: {id}");
    Ok(ExitCode::SUCCESS)
}

fn release(project: &Project, version: Version, date: Option<String>, first: bool) -> Result<ExitCode> {
    let bytes = proto::contract::FILE_DESCRIPTOR_SET;
    let (tree, committed) = release::committed(project, bytes)?;
    let cut = Cut { bytes, version, date: date.as_deref().unwrap_or(&committed), tree: &tree };
    let released = if first { release::first(project, &cut) } else { release::release(project, &cut) };
    match released {
        Ok(()) => {
            println!(
                "released: {version}; commit the baseline, the vectors, the waivers and the changelog, and nothing else"
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(ReleaseError::Stopped(judgement)) => {
            print!("{}", report::judgement(&judgement, report::Format::Text));
            Ok(ExitCode::from(1))
        }
        Err(error @ (ReleaseError::Small { .. } | ReleaseError::Expired { .. })) => {
            println!("{error}");
            Ok(ExitCode::from(1))
        }
        Err(error) => Err(error.into()),
    }
}

fn guard(project: &Project, require_history: bool) -> Result<ExitCode> {
    let outcome = guard::guard(project)?;
    outcome.offences.iter().for_each(|offence| println!("{offence}"));
    outcome.unknown.iter().for_each(|unknown| println!("not judged: {unknown}"));
    println!(
        "offences: {}, commits: {}, releases rebuilt: {}",
        outcome.offences.len(),
        outcome.commits,
        outcome.rebuilt
    );
    if require_history && outcome.offences.is_empty() && !outcome.unknown.is_empty() {
        bail!("not all of the history is there");
    }
    Ok(code(outcome.offences.is_empty()))
}

/// A program of its own: it calls servers, and nothing that compares contracts needs what that takes.
fn verify(arguments: &[OsString]) -> Result<ExitCode> {
    let program = env::current_exe()?.with_file_name("provider");
    let failure = process::Command::new(&program).args(arguments).exec();
    Err(failure).with_context(|| format!("{} cannot be run; type: cargo build -p provider", program.display()))
}

fn explain_rule(id: &str) -> Result<ExitCode> {
    let rule = RULES
        .iter()
        .find(|rule| rule.id == id)
        .with_context(|| format!("{id} is no rule; `contract rules` lists them"))?;
    let guide = explain(rule);
    println!("{} [{}]\n  finds     {}\n  hurts     {}", rule.id, rule.tier.as_str(), rule.finds, guide.hurts);
    guide.ways_out.iter().for_each(|way| println!("  way out   {way}"));
    println!("  waive     {}", waivers::never(rule).map_or("for one release, by name", |why| why));
    Ok(ExitCode::SUCCESS)
}
