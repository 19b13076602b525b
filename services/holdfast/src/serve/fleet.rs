//! The threads that run services.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use mesh::node::NodeError;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ServeArgs;
use crate::audit::watch;
use crate::service::Service;

/// Blocking work that is still on its way when a service has ended gets so long.
const BLOCKING_LIMIT: Duration = Duration::from_secs(1);

/// Services that run. Dropping it tells them to end, but does not wait.
pub(crate) struct Fleet {
    shutdown: CancellationToken,
    hurry: CancellationToken,
    ends: JoinSet<Ended>,
}

/// A service that runs no more.
pub(crate) struct Ended {
    pub(crate) service: Service,
    /// An error when it did not end in order.
    pub(crate) result: Result<()>,
}

impl Fleet {
    /// Starts a thread for each service.
    ///
    /// # Errors
    /// A thread cannot be started; those already started are told to end.
    pub(crate) fn start(args: &ServeArgs, listeners: Vec<(Service, TcpListener)>) -> Result<Self> {
        let hurry = args.node.drain.hurry.clone();
        let mut fleet = Self { shutdown: CancellationToken::new(), hurry, ends: JoinSet::new() };
        let runs = |service| listeners.iter().any(|(running, _)| *running == service);
        if !args.audit.audit_every.is_zero() && Service::ALL.into_iter().all(runs) {
            start_audit(args, fleet.shutdown.clone())?;
        }
        for (service, listener) in listeners {
            let (ended, end) = oneshot::channel();
            let (args, shutdown) = (args.clone(), fleet.shutdown.clone());
            let body = move || {
                // Nobody may be waiting any more; then nobody wants to know.
                let _ = ended.send(run(service, args, listener, shutdown));
            };
            thread::Builder::new()
                .name(service.name().to_owned())
                .spawn(body)
                .with_context(|| format!("cannot start a thread for {service}"))?;
            fleet.ends.spawn(async move {
                // A thread that panics drops its sender.
                let result = end.await.unwrap_or_else(|_| Err(anyhow!("its thread panicked")));
                Ended { service, result }
            });
        }
        Ok(fleet)
    }

    /// Tells all services to end in order.
    pub(crate) fn stop(&self) {
        self.shutdown.cancel();
    }

    /// Tells all services to cut what is still in progress.
    pub(crate) fn hurry(&self) {
        self.hurry.cancel();
    }

    pub(crate) fn is_anything_left(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Waits until one more service has ended; `None` when none is left.
    ///
    /// # Cancel safety
    /// Safe: an end that was not taken is answered next time.
    pub(crate) async fn next_end(&mut self) -> Option<Ended> {
        let joined = self.ends.join_next().await?;
        Some(joined.expect("waiting for a channel neither panics nor is aborted"))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Nobody waits for its end: it only reads.
fn start_audit(args: &ServeArgs, shutdown: CancellationToken) -> Result<()> {
    let (data, ledger, audit) = (args.node.data.clone(), args.payment.ledger(&args.node.data), args.audit.clone());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    let body = move || {
        mesh::telemetry::name_thread("audit");
        let watch = watch::run(&data, &ledger, audit.audit_every, audit.audit_rows_max);
        runtime.block_on(shutdown.run_until_cancelled(watch));
    };
    thread::Builder::new().name("audit".to_owned()).spawn(body).context("cannot start a thread for the audit")?;
    Ok(())
}

fn run(service: Service, args: ServeArgs, listener: TcpListener, shutdown: CancellationToken) -> Result<()> {
    mesh::telemetry::name_thread(service.name());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    let served = runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = mesh::net::TcpListener::from_std(listener)?;
        Ok::<_, anyhow::Error>(serve(service, args, listener, shutdown).await?)
    });
    runtime.shutdown_timeout(BLOCKING_LIMIT);
    served
}

/// Serves one service until `shutdown`, on the runtime it is called on.
///
/// # Errors
/// The service cannot start, or its server fails.
pub async fn serve(
    service: Service,
    args: ServeArgs,
    listener: mesh::net::TcpListener,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    let node = &args.node;
    match service {
        Service::Listing => listing::serve(node, args.listing, listener, shutdown).await,
        Service::Reservation => reservation::serve(node, args.reservation, listener, shutdown).await,
        Service::Payment => payment::serve(node, args.payment, listener, shutdown).await,
        Service::Mileage => mileage::serve(node, args.mileage, listener, shutdown).await,
        Service::Message => message::serve(node, args.message, listener, shutdown).await,
        Service::View => view::serve(node, args.view, listener, shutdown).await,
        Service::Voucher => voucher::serve(node, args.voucher, listener, shutdown).await,
        Service::Marketing => marketing::serve(node, args.marketing, listener, shutdown).await,
    }
}
