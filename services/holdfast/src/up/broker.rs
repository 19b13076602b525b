//! The NATS server of the mesh: a private child, or one of the user's own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use mesh::nats_server::{self, NatsServer};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::UpArgs;
use crate::home::Home;
use crate::service::NATS_PORT_OFFSET;
use crate::terminal::{done, note};

/// How often it is looked whether the private server still runs.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// Where events go. Dropping it kills a private server.
pub(super) struct Broker {
    url: String,
    server: Option<NatsServer>,
    watched: bool,
}

impl Broker {
    /// Uses the user's server, or finds, installs if need be, and starts a private one.
    ///
    /// # Errors
    /// No server can be had, or its port is taken.
    pub(super) async fn start(args: &UpArgs, home: &Home) -> Result<Self> {
        let url = Self::url_of(args);
        if args.nats_url.is_some() {
            done("events go to the NATS server named by --nats-url or NATS_URL");
            return Ok(Self { url, server: None, watched: false });
        }
        let (dir, port) = (home.nats(), port(args));
        // Installing takes a while; meanwhile Ctrl-C must be heard.
        let starting = spawn_blocking(move || {
            if nats_server::find().is_err() {
                nats_server::install(&|line| note(line))?;
            }
            check_port(port)?;
            NatsServer::start(&dir, port).map_err(|error| anyhow!(error))
        });
        let server = starting
            .await
            .context("starting nats-server panicked")?
            .context("there is no NATS server for the events")?;
        done(format_args!("nats-server {}  (process {})", server.url(), server.id()));
        Ok(Self { url, server: Some(server), watched: true })
    }

    /// The address that services are to use.
    pub(super) fn url_of(args: &UpArgs) -> String {
        args.nats_url
            .clone()
            .unwrap_or_else(|| format!("nats://{}", SocketAddr::from((Ipv4Addr::LOCALHOST, port(args)))))
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The private server's process.
    pub(super) fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(NatsServer::id)
    }

    /// Waits until the private server runs no more, and says so once.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn ended(&mut self) -> String {
        let (Some(pid), true) = (self.pid(), self.watched) else { return std::future::pending().await };
        while runs(pid) {
            sleep(WATCH_PERIOD).await;
        }
        self.watched = false;
        "nats-server ended".to_owned()
    }

    /// Ends a private server in order.
    pub(super) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}

fn port(args: &UpArgs) -> u16 {
    args.port_base + NATS_PORT_OFFSET
}

/// A server left by an `up` that was killed lets go of the port within moments; [`NatsServer::start`] ends it if it does not.
fn check_port(port: u16) -> Result<()> {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err();
    if taken {
        super::runner::patiently(|| {
            crate::ports::listen(
                (Ipv4Addr::LOCALHOST, port).into(),
                "nats-server",
                "choose other ports with --port-base, or a server with --nats-url",
            )
        })?;
    }
    Ok(())
}

/// A child that ended and was not waited for yet is a zombie, state Z: see proc_pid_stat(5).
fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
        !matches!(state, None | Some("Z" | "X"))
    })
}
