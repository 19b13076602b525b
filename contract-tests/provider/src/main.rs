//! `provider`: holds servers at any address to their contracts.
//!
//! Exit codes: 0, every check passed; 1, a contract is not kept; 2, nothing could be checked: wrong arguments, a server or a set of
//! descriptors that cannot be read.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use provider::{Credentials, Endpoints, Model, Plan, Suite, Target, checks};
use tokio::runtime::Runtime;

/// Holds servers to their contracts: makes tests from descriptors and runs them against servers that are there.
#[derive(Parser)]
#[command(after_help = "It calls every RPC and creates what that takes: point it at a mesh that may be thrown away.\n\
    Exit codes: 0 every check passed, 1 a contract is not kept, 2 nothing could be checked.")]
struct Arguments {
    /// The server of every service, host:port
    #[arg(long, required_unless_present = "services", conflicts_with = "services")]
    address: Option<String>,
    /// A file with a line for each server: a service or a package, host:port, and its name in tokens if another
    #[arg(long)]
    services: Option<PathBuf>,
    /// The contracts as an encoded descriptor set with its imports; without it the servers are asked, by reflection
    #[arg(long)]
    descriptors: Option<PathBuf>,
    /// The folder with the keys of the mesh: whoever may call is signed for
    #[arg(long)]
    keys: Option<PathBuf>,
    /// A user's token, as role=token; may be repeated. RPCs for which there is none are not tested
    #[arg(long, value_parser = token, conflicts_with = "keys")]
    token: Vec<(String, String)>,
    /// The broker, nats://host:port; without it nothing is said of events. Reflection does not tell of these: no RPC has one
    #[arg(long, requires = "descriptors")]
    nats: Option<String>,
    /// ErrorInfo.domain of refusals
    #[arg(long, default_value = "holdfast.dev")]
    domain: String,
    /// How long what follows from a call may take, in seconds
    #[arg(long, default_value_t = 30)]
    patience: u64,
    /// How long each service gets random requests, in seconds
    #[arg(long, default_value_t = 0)]
    fuzz: u64,
    /// Where random requests that broke a server are kept
    #[arg(long, default_value = "contract-tests/rejects")]
    rejects: PathBuf,
    /// Repeats the values of a run
    #[arg(long)]
    seed: Option<u64>,
    /// Lists the checks instead of running them
    #[arg(long)]
    list: bool,
    /// Runs only checks with this in their names
    filter: Option<String>,
}

fn token(text: &str) -> Result<(String, String), &'static str> {
    let (role, token) = text.split_once('=').ok_or("expected role=token")?;
    Ok((role.to_owned(), token.to_owned()))
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("provider: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> Result<bool> {
    let runtime = Runtime::new().context("no threads")?;
    let endpoints = match (&arguments.services, &arguments.address) {
        (Some(path), _) => {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Endpoints::parse(&text)?
        }
        (None, address) => Endpoints::one(address.as_deref().unwrap_or_default())?,
    };
    let descriptors = match &arguments.descriptors {
        Some(path) => fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        None => runtime.block_on(provider::discover(&endpoints)).context("reflection does not tell the contracts")?,
    };
    let model = Arc::new(Model::decode(&descriptors)?);
    let credentials = match &arguments.keys {
        Some(folder) => Credentials::keys(folder).context("the keys cannot be used")?,
        None => Credentials::Tokens(arguments.token.iter().cloned().collect::<BTreeMap<_, _>>()),
    };
    let plan = Plan {
        roles: arguments.keys.is_none().then(|| arguments.token.iter().map(|(role, _)| role.clone()).collect()),
        hears_events: arguments.nats.is_some(),
        fuzz: Duration::from_secs(arguments.fuzz),
    };
    for rpc in model.rpcs().filter(|rpc| !plan.may_call(rpc)) {
        println!("not tested, for want of a token: {}", rpc.path());
    }
    let all = checks(&model, &plan);
    anyhow::ensure!(
        model.rpcs().any(|rpc| plan.may_call(rpc)),
        "there is a token for no RPC: give --keys, or --token for each role"
    );

    let (nats, domain) = (arguments.nats, arguments.domain);
    let patience = Duration::from_secs(arguments.patience);
    let target = Target { endpoints, credentials, nats, domain, patience, rejects: arguments.rejects };
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let suite = Arc::new(
        runtime
            .block_on(Suite::new(Arc::clone(&model), &descriptors, target, seed))
            .map_err(|error| anyhow::anyhow!("the broker is not there: {error}"))?,
    );
    let chosen = libtest_mimic::Arguments { list: arguments.list, filter: arguments.filter, ..Default::default() };
    let conclusion = provider::run(chosen, runtime.handle(), all, Vec::new(), move || Ok(Arc::clone(&suite)));
    let ran = conclusion.num_passed + conclusion.num_failed;
    anyhow::ensure!(arguments.list || ran > 0, "no check has this in its name");
    Ok(!conclusion.has_failed())
}
