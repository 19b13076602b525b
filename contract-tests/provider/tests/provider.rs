//! The provider checks over a mesh of their own: the binary as processes, a broker, databases.
//!
//! `HOLDFAST_WRITE=1` writes the list of checks anew, `HOLDFAST_SEED` repeats a run's values.

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::{env, fs};

use libtest_mimic::{Arguments, Failed, Trial};
use proto::contract::FILE_DESCRIPTOR_SET;
use provider::{Check, Credentials, Endpoints, Model, Plan, Suite, Target, Unmet, checks, surface};
use tokio::runtime::Runtime;
use world::{ADDED, PATIENCE, SERVICES, World};

const SURFACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/surface.txt");
const UNMET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/unmet.txt");

fn main() -> ExitCode {
    let runtime = Runtime::new().expect("a runtime");
    let model = Arc::new(Model::decode(FILE_DESCRIPTOR_SET).expect("our contracts say what is to be tested"));
    let arguments = Arguments::from_args();
    let mut all = checks(&model, &Plan::FULL);
    let names = surface(&all);
    if arguments.filter.is_none() && arguments.skip.is_empty() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        all.push(Check::unmet(Unmet::read(UNMET.as_ref(), root.as_ref()).expect("the list of what is never met")));
    }
    let covered = Trial::test("coverage::surface", move || is_as_committed(&names));

    // Kept here, not in a static, so that it ends with the run.
    let mesh = Arc::new(Mutex::new(None));
    let (stage, handle) = (Arc::clone(&mesh), runtime.handle().clone());
    let start = move || {
        let (world, suite) = handle.block_on(start(&model));
        *stage.lock().expect("nothing panics with it") = Some(world);
        Ok(suite)
    };
    let conclusion = provider::run(arguments, runtime.handle(), all, vec![covered], start);
    drop(mesh);
    conclusion.exit_code()
}

async fn start(model: &Arc<Model>) -> (World, Arc<Suite>) {
    let mut world = World::start().await;
    for service in ADDED {
        world.begin(service).await;
    }
    let services = SERVICES.into_iter().chain(ADDED);
    let mut servers: String =
        services.map(|service| format!("holdfast.{service}.v1 {}\n", world.address(service))).collect();
    // What all of them serve to operators is asked of one.
    servers += &format!("holdfast.mesh.v1 {} listing", world.address("listing"));
    let target = Target {
        endpoints: Endpoints::parse(&servers).expect("addresses"),
        credentials: Credentials::keys(&world.keys()).expect("the keys of the world"),
        nats: Some(world.broker.url()),
        domain: "holdfast.dev".to_owned(),
        patience: PATIENCE,
        rejects: concat!(env!("CARGO_MANIFEST_DIR"), "/../rejects").into(),
    };
    let seed = env::var("HOLDFAST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    let suite =
        Suite::new(Arc::clone(model), FILE_DESCRIPTOR_SET, target, seed).await.expect("the broker of the world");
    (world, Arc::new(suite))
}

/// What is tested is listed, and the list is committed: what is no longer tested is seen by whoever reviews it.
fn is_as_committed(names: &str) -> Result<(), Failed> {
    if env::var_os("HOLDFAST_WRITE").is_some() {
        fs::write(SURFACE, names)?;
    }
    let committed = fs::read_to_string(SURFACE).unwrap_or_default();
    let only_in = |these: &str, those: &str| -> Vec<String> {
        let those: std::collections::HashSet<&str> = those.lines().collect();
        these.lines().filter(|line| !those.contains(line)).map(str::to_owned).collect()
    };
    let (lost, new) = (only_in(&committed, names), only_in(names, &committed));
    if lost.is_empty() && new.is_empty() && !names.is_empty() {
        return Ok(());
    }
    Err(format!(
        "\n  surface.txt lists what is tested; HOLDFAST_WRITE=1 cargo test -p provider writes it anew\n  no longer there: \
         {}\n  new: {}",
        lost.join(" "),
        new.join(" ")
    )
    .into())
}
