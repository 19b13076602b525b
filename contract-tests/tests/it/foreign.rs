//! A client in another language, with stubs it generated itself.

use std::{env, path::Path, process::Command};

use proto::contract::Role;

use world::World;

/// The story of the README, told by Python's own gRPC.
#[tokio::test]
async fn a_python_client_books_and_cancels_with_its_own_stubs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let tools = env::var_os("HOLDFAST_TOOLS_DIR").map_or_else(|| root.join(".holdfast/tools"), Into::into);
    let python = tools.join("python/bin/python");
    assert!(python.exists(), "{} is missing: run `cargo verify --only test`, which installs it", python.display());

    let world = World::start().await;
    let mut story = Command::new(python);
    story
        .arg(root.join("contract-tests/python/story.py"))
        .arg(root.join("proto"))
        .envs(world.environment())
        .env("HOST_TOKEN", world.token("hana", Role::Host))
        .env("CUSTOMER_TOKEN", world.token("gil", Role::Customer));
    let output = tokio::task::spawn_blocking(move || story.output()).await.expect("no panic").expect("python runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("ok the room free again"), "{out}");
    world.audit();
}
