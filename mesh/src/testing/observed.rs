//! A test looks at every batch that a consumer of this process is given, before its handler sees it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::consumer::{ConsumerSpec, Handler};
use crate::event::Received;
use crate::store::Conn;

/// What a service does with some events: in the transaction of the connection that it is given.
pub type Handle = Handler;

/// A batch that waits for its handler. The write transaction is open, so the service's database stands still.
pub struct Batch<'a> {
    /// The service.
    pub service: &'static str,
    /// What it consumes.
    pub spec: &'a ConsumerSpec,
    /// What it does with it.
    pub handle: &'a Handle,
    /// In the order of the stream.
    pub events: &'a [Received],
}

type Observer = Arc<dyn Fn(&Batch<'_>) + Send + Sync>;

static OBSERVER: Mutex<Option<Observer>> = Mutex::new(None);

/// From now on services that start show each batch to this observer.
pub fn observe_consumers(observer: impl Fn(&Batch<'_>) + Send + Sync + 'static) {
    *OBSERVER.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(observer));
}

/// The handler, behind the observer if there is one.
pub(crate) fn observed(service: &'static str, spec: &ConsumerSpec, handle: Handler) -> Handler {
    let Some(observer) = OBSERVER.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return handle };
    let spec = spec.clone();
    Arc::new(move |conn: &mut Conn, events: &[Received]| {
        observer(&Batch { service, spec: &spec, handle: &handle, events });
        handle(conn, events)
    })
}
