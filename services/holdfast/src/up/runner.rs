//! What runs the services: threads of this process, or child processes.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::children::Children;
use super::{ServeCommand, UpArgs};
use crate::home::Home;
use crate::serve::{Ended, Fleet, ServeArgs};
use crate::service::Service;

/// The kernel may need a moment to take ports back from an `up` that was killed.
const PORT_PATIENCE: Duration = Duration::from_secs(2);
const PORT_PAUSE: Duration = Duration::from_millis(25);

/// Services that run. Dropping it ends them.
pub(super) enum Runner {
    Threads(Fleet),
    Children(Children),
}

/// Takes the ports of all services.
///
/// # Errors
/// One is taken and stays so.
pub(super) async fn take_ports(serve: &ServeArgs) -> Result<Vec<(Service, TcpListener)>> {
    // Blocks for two seconds at most, and nothing runs yet.
    patiently(|| serve.listen(|_| "choose others with --port-base".to_owned()))
}

/// Tries again until it works or patience ends.
pub(super) fn patiently<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        match attempt() {
            Err(_) if started.elapsed() < PORT_PATIENCE => thread::sleep(PORT_PAUSE),
            outcome => return outcome,
        }
    }
}

impl Runner {
    /// Starts all services. Children take the ports themselves, so `listeners` are closed for them.
    pub(super) fn start(
        args: &UpArgs,
        home: &Home,
        serve: ServeCommand,
        listeners: Vec<(Service, TcpListener)>,
    ) -> Result<Self> {
        if args.processes {
            drop(listeners);
            Ok(Self::Children(Children::start(args, home, &serve)?))
        } else {
            Ok(Self::Threads(Fleet::start(&serve.parsed, listeners)?))
        }
    }

    /// The process that runs a service.
    pub(super) fn pid(&self, service: Service) -> u32 {
        match self {
            Self::Threads(_) => std::process::id(),
            Self::Children(children) => children.pid(service),
        }
    }

    /// Waits until one more service has ended; for ever when none is left.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn next_end(&mut self) -> (Service, Result<()>) {
        let end = match self {
            Self::Threads(fleet) => fleet.next_end().await,
            Self::Children(children) => children.next_end().await,
        };
        match end {
            Some(Ended { service, result }) => (service, result),
            None => std::future::pending().await,
        }
    }

    pub(super) fn is_anything_left(&self) -> bool {
        match self {
            Self::Threads(fleet) => fleet.is_anything_left(),
            Self::Children(children) => children.is_anything_left(),
        }
    }

    /// Ends all in order and waits for that.
    pub(super) async fn stop(&mut self) {
        match self {
            Self::Threads(fleet) => {
                fleet.stop();
                while fleet.next_end().await.is_some() {}
            }
            Self::Children(children) => {
                children.stop();
                while children.next_end().await.is_some() {}
            }
        }
    }
}
