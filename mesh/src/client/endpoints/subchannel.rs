//! Keeps one connection to one endpoint, for as long as discovery knows it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::roster::Phase;
use super::{Endpoint, Line, Shared, Unreachable};
use crate::client::connection::{Connected, connect};

/// A connection that lasted so long was one, even if nothing was asked of it.
const LASTED: Duration = Duration::from_secs(1);

/// Connects, waits until the connection takes no more calls, and connects again; never ends.
///
/// # Cancel safety
/// A connection that it has made serves whoever has it until its last call has ended.
pub(super) async fn run(shared: Arc<Shared>, endpoint: Arc<Endpoint>) {
    let mut backoff = Backoff::default();
    loop {
        let error = match hold(&shared, &endpoint).await {
            Ok(()) => {
                backoff.reset();
                shared.change(|roster, _| roster.set(&endpoint, Phase::Connecting));
                shared.lost.notify_one();
                continue;
            }
            Err(error) => error,
        };
        tracing::debug!(target_service = shared.target, endpoint = %endpoint.address, %error, "cannot connect");
        // Who takes connections and soon closes them is about to end, or lets none grow old. The next one may serve.
        let hope = error.kind() == io::ErrorKind::ConnectionAborted && backoff.is_young();
        let phase = if hope { Phase::Connecting } else { Phase::Failing(Arc::new(Unreachable::new(&error))) };
        shared.change(|roster, _| roster.set(&endpoint, phase));
        shared.lost.notify_one();
        let delay = backoff.failed(error.kind(), rand::random_range(-1.0..=1.0));
        tokio::select! {
            () = sleep(delay) => {}
            () = endpoint.wanted.notified() => {}
        }
    }
}

/// Connects, and waits until the connection takes no more calls.
///
/// # Errors
/// No connection, or one that was good for nothing.
async fn hold(shared: &Shared, endpoint: &Arc<Endpoint>) -> io::Result<()> {
    let Connected { sender, taking_no_more } = connect(shared.target, &shared.address, endpoint.address).await?;
    let began = Instant::now();
    let line = Arc::new(Line::new(Arc::clone(endpoint), sender));
    shared.change(|roster, _| roster.set(endpoint, Phase::Ready(Arc::clone(&line))));
    // Its end is that the other side is dropped.
    let _ = taking_no_more.await;
    if line.answered.load(Ordering::Relaxed) || began.elapsed() >= LASTED {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::ConnectionAborted, "closed before anything was answered"))
}
