//! The private broker: one for each folder, and none left behind.

use mesh::nats_server::{NatsServer, install};
use mesh::testing::free_port;

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
