//! Rebuilding the views from the streams while they are served.
//!
//! The streams are folded with the very code that folds them for the served rows, into a database of its own: a schema `view_rebuild` on
//! PostgreSQL, a file beside the served one on SQLite. What is folded into the served rows meanwhile is also kept in a journal, which the result
//! takes in at the moment of comparing and again of swapping (`store::journal`, `store::swap`). A rebuild that ends half way has touched nothing
//! but these; the next one clears them away.

use std::path::PathBuf;
use std::time::Duration;

use mesh::bus::Bus;
use mesh::node::Node;
use mesh::replay::{Replay, ReplayError, Span};
use mesh::store::{Conn, DatabaseUrl, Id, Micros, OpenError, Store, StoreError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::store::journal;
use crate::store::swap::{self, Comparison, SwapError, TIMELINE};
use crate::{BATCH, MIGRATIONS, STREAMS, events};

/// The database that is rebuilt into: a schema, or the ending of a file.
const SHADOW: &str = "view_rebuild";
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// Told and not yet read by the caller at most.
const TOLD: usize = 64;

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// Replace what differs.
    pub(crate) swap: bool,
    /// Although events that are served are in no stream any more.
    pub(crate) allow_loss: bool,
    /// Keys of differing rows, of each table.
    pub(crate) samples: i64,
}

/// How far it is.
#[derive(Clone, Debug)]
pub(crate) enum Progress {
    /// So many events of a stream are folded.
    Replaying {
        /// Which stream.
        stream: &'static str,
        /// How many of its events are.
        replayed: u64,
        /// How many it has.
        events: u64,
        /// Events of all streams that were passed over.
        skipped: u64,
    },
    /// Each table is compared.
    Compared {
        /// The tables.
        tables: Vec<Comparison>,
        /// Events of all streams that were passed over.
        skipped: u64,
    },
    /// What differed is replaced.
    Swapped,
}

/// Why a rebuild ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Another one is under way.
    #[error("another rebuild is under way")]
    InProgress,
    /// The service ends.
    #[error("the service ends")]
    Ending,
    /// What is served and no stream has would be lost.
    #[error("{0} events that are served are in no stream any more")]
    Loss(i64),
    /// A stream cannot be read.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The database of its own cannot be opened.
    #[error("the database to rebuild into cannot be opened")]
    Open(#[from] OpenError),
    /// The caller has gone.
    #[error("nobody waits for it any more")]
    Abandoned,
    /// Comparing or swapping.
    #[error(transparent)]
    Swap(#[from] SwapError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What a caller is told, until it ends.
pub(crate) type Told = mpsc::Receiver<Result<Progress, Error>>;

/// Asks for rebuilds. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rebuilds(mpsc::Sender<Job>);

struct Job {
    wish: Wish,
    tell: mpsc::Sender<Result<Progress, Error>>,
}

impl Rebuilds {
    /// Begins one, which lives as long as what is told of it.
    pub(crate) fn begin(&self, wish: Wish) -> Result<Told, Error> {
        let (tell, told) = mpsc::channel(TOLD);
        match self.0.try_send(Job { wish, tell }) {
            Ok(()) => Ok(told),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Error::InProgress),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Error::Ending),
        }
    }
}

/// Rebuilds in the background of a node, one at a time.
pub(crate) fn start(node: &Node, served: &DatabaseUrl) -> Rebuilds {
    let (jobs, queue) = mpsc::channel(1);
    let builder = Builder {
        live: node.store().clone(),
        bus: node.bus().clone(),
        served: served.clone(),
        shadow: shadow_of(served),
    };
    node.run(builder.work(queue, node.shutdown()));
    Rebuilds(jobs)
}

fn shadow_of(served: &DatabaseUrl) -> DatabaseUrl {
    match served {
        DatabaseUrl::Sqlite(path) => DatabaseUrl::Sqlite(with_ending(path.clone(), ".rebuild")),
        DatabaseUrl::Postgres(url) => DatabaseUrl::Postgres(url.clone()),
    }
}

fn with_ending(path: PathBuf, ending: &str) -> PathBuf {
    let mut path = path.into_os_string();
    path.push(ending);
    path.into()
}

struct Builder {
    live: Store,
    bus: Bus,
    served: DatabaseUrl,
    shadow: DatabaseUrl,
}

impl Builder {
    async fn work(self, mut queue: mpsc::Receiver<Job>, shutdown: CancellationToken) {
        while let Some(Some(Job { wish, tell })) = shutdown.run_until_cancelled(queue.recv()).await {
            let claim = Id::generate();
            let outcome = match self.claim(claim).await {
                Ok(()) => self.rebuild_and_clear(claim, wish, &tell, &shutdown).await,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                tracing::info!(%error, "a rebuild of the views ended early");
                // Nobody may be there to be told.
                let _ = tell.try_send(Err(error));
            }
        }
    }

    async fn claim(&self, claim: Id) -> Result<(), Error> {
        let claimed = self.live.write(move |conn| Ok::<_, Error>(journal::claim(conn, claim, Micros::now())?));
        if claimed.await? { Ok(()) } else { Err(Error::InProgress) }
    }

    async fn rebuild_and_clear(
        &self,
        claim: Id,
        wish: Wish,
        tell: &mpsc::Sender<Result<Progress, Error>>,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        // Whichever comes first, the others may be dropped anywhere: what is served is changed by one transaction only.
        let outcome = tokio::select! {
            outcome = self.rebuild(claim, wish, tell) => outcome,
            outcome = self.hold(claim) => outcome,
            () = tell.closed() => Err(Error::Abandoned),
            () = shutdown.cancelled() => Err(Error::Ending),
        };
        if let Err(error) = self.clear(claim).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a rebuild leaves something for the next to clear"
            );
        }
        outcome
    }

    async fn rebuild(&self, claim: Id, wish: Wish, tell: &mpsc::Sender<Result<Progress, Error>>) -> Result<(), Error> {
        let shadow = self.open().await?;
        let skipped = self.replay(&shadow, tell).await?;
        let served = self.served.clone();
        let tables = shadow.write(move |conn| {
            see_one_moment(conn)?;
            swap::compare(conn, &served, wish.samples)
        });
        let tables = tables.await?;
        let lost = tables.iter().find(|table| table.table == TIMELINE).map_or(0, |table| table.extra);
        send(tell, Progress::Compared { tables, skipped }).await?;
        if !wish.swap {
            return Ok(());
        }
        if lost > 0 && !wish.allow_loss {
            return Err(Error::Loss(lost));
        }
        let rebuilt = self.shadow.clone();
        self.live.write(move |conn| swap::swap(conn, &rebuilt, SHADOW, claim)).await?;
        tracing::info!("the views were rebuilt and swapped");
        send(tell, Progress::Swapped).await
    }

    /// Folds all streams; answers how many events had to be passed over.
    async fn replay(&self, shadow: &Store, tell: &mpsc::Sender<Result<Progress, Error>>) -> Result<u64, Error> {
        let mut spans = Vec::new();
        for (stream, _) in STREAMS {
            spans.push(Span::until_now(&self.bus, stream).await?);
        }
        let mut skipped = 0;
        for span in spans {
            let mut replay = Replay::begin(&self.bus, span).await?;
            while let Some(batch) = replay.next(BATCH).await? {
                let passed_over = shadow.write(move |conn| {
                    let facts: Vec<_> = batch.events.iter().map(events::fact).collect();
                    let refused = facts.iter().filter(|fact| fact.is_err()).count();
                    crate::store::apply(conn, facts.into_iter().filter_map(Result::ok).flatten().collect())?;
                    Ok::<_, Error>(refused as u64 + batch.malformed)
                });
                skipped += passed_over.await?;
                let (stream, replayed, events) = (span.stream(), replay.read(), span.count());
                send(tell, Progress::Replaying { stream, replayed, events, skipped }).await?;
            }
        }
        Ok(skipped)
    }

    /// Keeps the claim; ends only when it is lost.
    async fn hold(&self, claim: Id) -> Result<(), Error> {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            self.renew(claim).await?;
        }
    }

    async fn renew(&self, claim: Id) -> Result<(), Error> {
        let held = self.live.write(move |conn| Ok::<_, Error>(journal::renew(conn, claim, Micros::now())?));
        if held.await? { Ok(()) } else { Err(SwapError::Lost.into()) }
    }

    async fn open(&self) -> Result<Store, Error> {
        self.drop_shadow().await?;
        let url = self.shadow.clone();
        let opened = tokio::task::spawn_blocking(move || Store::open(&url, SHADOW, MIGRATIONS)).await;
        Ok(opened.map_err(|_| StoreError::Closed)??)
    }

    async fn clear(&self, claim: Id) -> Result<(), Error> {
        // Attached by a swap only.
        let _ = self.live.write(|conn| Ok::<_, StoreError>(swap::leave(conn)?)).await;
        // Whoever holds the claim now, if it was lost, rebuilds into the same place.
        self.renew(claim).await?;
        self.drop_shadow().await?;
        self.live.write(move |conn| Ok::<_, Error>(journal::release(conn, claim)?)).await
    }

    async fn drop_shadow(&self) -> Result<(), Error> {
        match &self.shadow {
            DatabaseUrl::Sqlite(path) => {
                for ending in ["", "-wal", "-shm", ".lock"] {
                    // What is not there needs no removing; what cannot be removed is told by opening it.
                    let _ = tokio::fs::remove_file(with_ending(path.clone(), ending)).await;
                }
                Ok(())
            }
            DatabaseUrl::Postgres(_) => {
                let drop = format!("DROP SCHEMA IF EXISTS \"{SHADOW}\" CASCADE");
                self.live.write(move |conn| execute(conn, &drop)).await
            }
        }
    }
}

fn execute(conn: &mut Conn, statement: &str) -> Result<(), Error> {
    use diesel::connection::SimpleConnection as _;

    Ok(mesh::on!(conn, c => c.batch_execute(statement))?)
}

/// All that the transaction reads is as it was at one moment. SQLite does that by itself.
fn see_one_moment(conn: &mut Conn) -> Result<(), StoreError> {
    use diesel::connection::SimpleConnection as _;

    match conn {
        Conn::Sqlite(_) => Ok(()),
        Conn::Postgres(c) => Ok(c.batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")?),
    }
}

async fn send(tell: &mpsc::Sender<Result<Progress, Error>>, progress: Progress) -> Result<(), Error> {
    tell.send(Ok(progress)).await.map_err(|_| Error::Abandoned)
}
