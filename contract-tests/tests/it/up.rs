//! `holdfast up`: one command, the whole mesh, and nothing left behind.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use mesh::testing::{eventually, free_port};
use rustix::process::Signal;
use tempfile::TempDir;

use world::{PATIENCE, Process, holdfast, send};

/// A base whose services' ports are free now.
fn port_base() -> u16 {
    loop {
        let base = free_port();
        let needed = (1..=7).chain([22]).map(|offset| base.checked_add(offset));
        if base < 65_000 && needed.flatten().all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return base;
        }
    }
}

fn command(home: &Path, base: u16, arguments: &[&str]) -> Command {
    let mut command = Command::new(holdfast());
    command
        .args(arguments)
        .env("HOLDFAST_HOME", home)
        .env("HOLDFAST_PORT_BASE", base.to_string())
        .env("HOLDFAST_TOOLS_DIR", mesh::nats_server::tools_dir())
        .env_remove("NATS_URL")
        .env_remove("HOLDFAST_DATABASE_URL");
    command
}

/// Starts `up` and waits until it says that it is ready; everything it printed until then.
fn up(home: &Path, base: u16, more: &[&str]) -> (Process, String) {
    let arguments = [&["up"], more].concat();
    let mut child =
        command(home, base, &arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
    let output = child.stdout.take().expect("piped");
    let process = Process::from(child);
    let (lines, printed) = mpsc::sync_channel(1024);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = lines.try_send(line);
        }
    });
    let mut text = String::new();
    loop {
        let line = printed.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("not ready in time:\n{text}"));
        text += &line;
        text.push('\n');
        // The last thing printed is how to end it.
        if line.contains("Ctrl-C") {
            return (process, text);
        }
    }
}

fn run(home: &Path, base: u16, arguments: &[&str]) -> (bool, String) {
    let output = command(home, base, arguments).output().expect("it runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), text)
}

/// Processes with this folder in their command line or working files.
fn processes_of(home: &Path) -> Vec<String> {
    let home = home.display().to_string();
    fs::read_dir("/proc")
        .expect("a Linux system")
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&home))
        .collect()
}

#[tokio::test]
async fn up_runs_the_mesh_is_idempotent_and_leaves_nothing_behind() {
    let (home, base) = (TempDir::new().expect("a folder"), port_base());
    let home = home.path();
    let (first, printed) = up(home, base, &[]);
    assert!(printed.contains("CreateReservation"), "it shows calls to try:\n{printed}");

    let (well, smoke) = run(home, base, &["smoke"]);
    assert!(well, "{smoke}");
    let (well, stories) = run(home, base, &["demo", "all"]);
    assert!(well, "every business's story:\n{stories}");
    for policy in ["airbnb", "approval", "resort", "taxi", "screening"] {
        let (well, load) =
            run(home, base, &["load", "--policy", policy, "--concurrency", "4", "--seconds", "1", "--warmup", "0"]);
        assert!(well, "{policy}:\n{load}");
    }
    let (well, again) = run(home, base, &["up"]);
    assert!(well, "a second up says where the first is:\n{again}");
    let (well, audit) = run(home, base, &["audit", "--settle", "30"]);
    assert!(well, "{audit}");
    for role in ["customer", "host", "operator"] {
        let (well, token) = run(home, base, &["token", role]);
        assert!(well && token.trim().split('.').count() == 3, "{token}");
    }

    send(first.id(), Signal::INT);
    let mut first = first;
    assert!(first.wait().await.success());
    eventually(PATIENCE, || async { processes_of(home).is_empty() }).await;
}

/// Killed without a chance to clean up: no orphan stays, the next one starts, and what was booked is still there.
#[tokio::test]
async fn a_killed_up_leaves_no_orphan_and_starts_again_with_its_data() {
    for more in [&[][..], &["--processes"]] {
        let (home, base) = (TempDir::new().expect("a folder"), port_base());
        let home = home.path();
        let (first, _) = up(home, base, more);
        let (well, smoke) = run(home, base, &["smoke"]);
        assert!(well, "{smoke}");
        first.kill();
        eventually(PATIENCE, || async { processes_of(home).is_empty() }).await;

        let (_second, _) = up(home, base, more);
        let (well, audit) = run(home, base, &["audit", "--settle", "30"]);
        assert!(well, "{audit}");
        assert!(audit.contains("payments") || audit.contains("payment"), "{audit}");
    }
}

#[tokio::test]
async fn a_busy_port_is_named_and_nothing_stays_running() {
    let (home, base) = (TempDir::new().expect("a folder"), port_base());
    let _busy = TcpListener::bind(("127.0.0.1", base + 3)).expect("free a moment ago");
    let (well, text) = run(home.path(), base, &["up"]);
    assert!(!well, "{text}");
    assert!(text.contains(&(base + 3).to_string()) && text.contains("payment"), "{text}");
    eventually(Duration::from_secs(10), || async { processes_of(home.path()).is_empty() }).await;
}
