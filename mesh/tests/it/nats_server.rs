//! The private broker: one for each folder, and none left behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mesh::nats_server::{NatsServer, install};
use mesh::testing::{eventually, free_port};

fn is_alive(id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn prepare() -> tempfile::TempDir {
    install(&|step| eprintln!("{step}")).expect("nats-server can be installed");
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn it_listens_where_it_was_told_and_ends_when_dropped() {
    let dir = prepare();
    let port = free_port();
    let server = NatsServer::start(dir.path(), port).expect("starts");
    assert_eq!(server.url(), format!("nats://127.0.0.1:{port}"));
    let id = server.id();
    assert!(is_alive(id));
    drop(server);
    assert!(!is_alive(id));
}

#[test]
fn a_left_over_of_the_same_folder_is_ended_first() {
    let dir = prepare();
    let left_over = NatsServer::start(dir.path(), 0).expect("starts");
    let second = NatsServer::start(dir.path(), 0).expect("starts again");
    assert!(!is_alive(left_over.id()));
    assert!(is_alive(second.id()));
    second.stop();
}

#[test]
fn a_port_in_use_is_reported_with_the_servers_words() {
    let dir = prepare();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let error = NatsServer::start(dir.path(), port).expect_err("the port is taken");
    assert!(error.to_string().contains("address already in use"), "{error}");
}

const DIR: &str = "MESH_TEST_NATS_DIR";

#[test]
#[ignore = "the victim of the next test, in a process of its own"]
fn a_process_that_waits_to_be_killed() {
    let dir = std::env::var(DIR).expect("started by the next test");
    let server = NatsServer::start(Path::new(&dir), 0).expect("starts");
    println!("\nid {}", server.id());
    // Ends with the other end of the pipe, should nobody kill it.
    let _ = std::io::stdin().lines().next();
}

#[tokio::test]
async fn it_ends_with_a_process_that_is_killed() {
    let dir = prepare();
    let mut victim = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "nats_server::a_process_that_waits_to_be_killed", "--ignored", "--nocapture"])
        .env(DIR, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(victim.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let id = lines.find_map(|line| line.strip_prefix("id ").and_then(|id| id.parse().ok())).expect("tells the id");
    assert!(is_alive(id));
    victim.kill().expect("still there");
    victim.wait().expect("ours");
    eventually(Duration::from_secs(10), || async { !is_alive(id) }).await;
}
