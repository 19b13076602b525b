//! Transactions: all or nothing, each caller alone, and what happens under pressure.

use std::sync::mpsc;
use std::time::Duration;

use mesh::deadline::{self, Deadline};
use mesh::store::{Conn, DatabaseUrl, OpenError, POSTGRES_CONNECTIONS, Store, StoreError};
use mesh::testing::{database, eventually, postgres, sqlite};
use tokio::task::JoinSet;

use crate::things;

const SOON: Duration = Duration::from_secs(10);

/// Holds every connection thread that writes until the senders are dropped; returns once they are held.
async fn hold_all(store: &Store, url: &DatabaseUrl) -> Vec<mpsc::SyncSender<()>> {
    let threads = match url {
        DatabaseUrl::Sqlite(_) => 1,
        DatabaseUrl::Postgres(_) => POSTGRES_CONNECTIONS,
    };
    let mut held = Vec::new();
    for _ in 0..threads {
        held.push(hold(store).await);
    }
    held
}

/// Holds one connection thread, as [`hold_all`] does.
async fn hold(store: &Store) -> mpsc::SyncSender<()> {
    let (release, held) = mpsc::sync_channel::<()>(1);
    let (entered, inside) = tokio::sync::oneshot::channel();
    let store = store.clone();
    deadline::spawn(async move {
        let wait = move |_: &mut Conn| {
            let _ = entered.send(());
            let _ = held.recv();
            Ok::<_, StoreError>(())
        };
        store.write(wait).await
    });
    inside.await.expect("the closure runs");
    release
}

#[tokio::test]
async fn one_failure_undoes_only_itself() {
    let (_dir, url) = database();
    failures_undo_only_themselves(things::open(&url)).await;
}

async fn failures_undo_only_themselves(store: Store) {
    let mut callers = JoinSet::new();
    for n in 0..60 {
        let store = store.clone();
        callers.spawn(async move {
            let name = format!("thing-{n}");
            store
                .write(move |conn| {
                    things::add(conn, &name, 1)?;
                    match n % 3 {
                        0 => Ok(()),
                        1 => Err(StoreError::Busy),
                        _ => panic!("on purpose"),
                    }
                })
                .await
        });
    }
    let outcomes = callers.join_all_caught().await;
    assert_eq!(outcomes, (20, 20, 20), "stored, refused, panicked");
    assert_eq!(things::count(&store).await, 20);
    // A statement the database refuses counts as an error too, and the next caller is not affected.
    let refused: Result<i64, StoreError> = store.write(|conn| Ok(things::add(conn, "negative", -1)?)).await;
    assert!(matches!(refused, Err(StoreError::Database(_))), "{refused:?}");
    store.write(|conn| Ok::<_, StoreError>(things::add(conn, "after", 1)?)).await.expect("stored");
}

trait JoinAllCaught {
    async fn join_all_caught(self) -> (usize, usize, usize);
}

impl JoinAllCaught for JoinSet<Result<(), StoreError>> {
    async fn join_all_caught(mut self) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        while let Some(outcome) = self.join_next().await {
            match outcome {
                Ok(Ok(())) => counts.0 += 1,
                Ok(Err(_)) => counts.1 += 1,
                Err(_) => counts.2 += 1,
            }
        }
        counts
    }
}

/// Only a file's writer takes several jobs into one transaction.
#[tokio::test]
async fn one_failure_in_a_batch_undoes_only_itself() {
    let (_dir, url) = sqlite();
    let store = things::open(&url);
    let release = hold(&store).await;
    let test = deadline::spawn(failures_undo_only_themselves(store));
    // All sixty are queued behind the held transaction, so they share the one that follows.
    drop(release);
    test.await.expect("passes");
}

#[tokio::test]
async fn an_aborted_caller_leaves_all_or_nothing() {
    let (_dir, url) = database();
    let store = things::open(&url);
    let mut callers = Vec::new();
    for n in 0..200 {
        let caller = store.clone();
        callers.push(deadline::spawn(async move {
            let name = format!("pair-{n}");
            caller
                .write(move |conn| {
                    things::add(conn, &format!("{name}-left"), 1)?;
                    Ok::<_, StoreError>(things::add(conn, &format!("{name}-right"), 1)?)
                })
                .await
        }));
        if n % 2 == 0 {
            tokio::task::yield_now().await;
        }
        if n >= 3 {
            callers[n - 3].abort();
        }
    }
    for caller in callers {
        let _ = caller.await;
    }
    for n in 0..200 {
        let left = things::number(&store, &format!("pair-{n}-left")).await;
        assert_eq!(left, things::number(&store, &format!("pair-{n}-right")).await, "pair {n}");
    }
}

#[tokio::test]
async fn work_of_a_caller_who_left_before_it_began_is_skipped() {
    let (_dir, url) = database();
    let store = things::open(&url);
    let release = hold_all(&store, &url).await;
    {
        let left = store.write(|conn| Ok::<_, StoreError>(things::add(conn, "ghost", 1)?));
        let timed_out = tokio::time::timeout(Duration::from_millis(10), left).await;
        assert!(timed_out.is_err());
    }
    drop(release);
    store.write(|conn| Ok::<_, StoreError>(things::add(conn, "next", 1)?)).await.expect("stored");
    assert_eq!(things::number(&store, "ghost").await, None);
}

#[tokio::test]
async fn a_second_process_is_refused_the_file_with_a_clear_message() {
    let (_dir, url) = sqlite();
    let first = things::open(&url);
    let Err(error) = Store::open(&url, things::SERVICE, things::migrations()) else { panic!("opened twice") };
    assert!(matches!(error, OpenError::InUse(_)), "{error:?}");
    assert!(error.to_string().contains("test.db is in use by another process"), "{error}");
    drop(first);
    things::open(&url);
}

#[tokio::test]
async fn a_full_queue_answers_busy() {
    let (_dir, url) = database();
    let store = things::open(&url);
    let release = hold_all(&store, &url).await;
    let mut callers = JoinSet::new();
    for n in 0..1100 {
        let store = store.clone();
        callers.spawn(async move {
            store.write(move |conn| Ok::<_, StoreError>(things::add(conn, &format!("thing-{n}"), 1)?)).await
        });
    }
    // Nothing moves while the writer is held, so the callers above the limit are answered first.
    for _ in 0..1100 - 1024 {
        let outcome = callers.join_next().await.expect("a caller").expect("no panic");
        assert!(matches!(outcome, Err(StoreError::Busy)), "{outcome:?}");
    }
    drop(release);
    while let Some(outcome) = callers.join_next().await {
        outcome.expect("no panic").expect("stored");
    }
    assert_eq!(things::count(&store).await, 1024);
}

#[tokio::test]
async fn late_work_is_rolled_back() {
    let (_dir, url) = database();
    let store = things::open(&url);
    let budget = Duration::from_millis(30);
    let slow = deadline::scope(
        Deadline::after(budget),
        store.write(move |conn| {
            things::add(conn, "late", 1)?;
            std::thread::sleep(2 * budget);
            Ok::<_, StoreError>(())
        }),
    );
    assert!(matches!(slow.await, Err(StoreError::Deadline)));
    assert_eq!(things::number(&store, "late").await, None);
    let passed = Deadline::new(tokio::time::Instant::now() - budget);
    let refused = deadline::scope(passed, store.write(|conn| Ok::<_, StoreError>(things::add(conn, "never", 1)?)));
    assert!(matches!(refused.await, Err(StoreError::Deadline)));
    assert_eq!(things::number(&store, "never").await, None);
    let in_time = deadline::scope(
        Deadline::after(SOON),
        store.write(|conn| Ok::<_, StoreError>(things::add(conn, "in time", 1)?)),
    );
    in_time.await.expect("stored");
}

#[tokio::test]
async fn work_whose_deadline_passes_in_the_queue_never_starts() {
    let (_dir, url) = database();
    let store = things::open(&url);
    let release = hold_all(&store, &url).await;
    let deadline = Deadline::after(Duration::from_millis(20));
    let queued = deadline::spawn(deadline::scope(deadline, {
        let store = store.clone();
        async move { store.write(|conn| Ok::<_, StoreError>(things::add(conn, "late", 1)?)).await }
    }));
    eventually(SOON, || async { deadline.has_passed() }).await;
    drop(release);
    assert!(matches!(queued.await.expect("no panic"), Err(StoreError::Deadline)));
    assert_eq!(things::number(&store, "late").await, None);
}

#[tokio::test]
async fn a_postgres_statement_stops_at_the_deadline() {
    let store = things::open(&postgres().url);
    let started = std::time::Instant::now();
    let slow = deadline::scope(
        Deadline::after(Duration::from_millis(50)),
        store.write(|conn| {
            use diesel::connection::SimpleConnection;
            mesh::on!(conn, c => c.batch_execute("SELECT pg_sleep(20)"))?;
            Ok::<_, StoreError>(())
        }),
    );
    let stopped = slow.await;
    assert!(matches!(stopped, Err(StoreError::Deadline)), "{stopped:?}");
    assert!(started.elapsed() < SOON);
}

#[tokio::test]
async fn cut_postgres_connections_are_opened_again() {
    let database = postgres();
    let store = things::open(&database.url);
    store.write(|conn| Ok::<_, StoreError>(things::add(conn, "thing", 1)?)).await.expect("stored");
    database.cut_connections();
    for _ in 0..64 {
        // Nothing had begun on the dead connections, so nobody notices.
        store.write(|conn| Ok::<_, StoreError>(things::add(conn, "thing", 1)?)).await.expect("stored");
    }
    assert_eq!(things::number(&store, "thing").await, Some(65));
    eventually(SOON, || async { store.ping().await.is_ok() }).await;
}

#[tokio::test]
async fn many_processes_may_start_on_an_empty_database() {
    let url = postgres().url;
    let starts: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn({
                let url = url.clone();
                move || drop(things::open(&url))
            })
        })
        .collect();
    for start in starts {
        start.join().expect("opens");
    }
}

#[tokio::test]
async fn commits_wake_those_who_wait_and_failures_do_not() {
    let (_dir, url) = database();
    let store = things::open(&url);
    let mut commits = store.committed().subscribe();
    let stored = store.write(|conn| Ok::<_, StoreError>(things::add(conn, "thing", 1)?)).await;
    stored.expect("stored");
    // Also when the commit came before the wait.
    tokio::time::timeout(SOON, commits.changed()).await.expect("woken");
}

#[tokio::test]
async fn what_is_queued_when_the_store_is_dropped_is_still_done() {
    let (_dir, url) = database();
    let store = things::open(&url);
    let release = hold_all(&store, &url).await;
    let writes: Vec<_> = (0..10)
        .map(|n| {
            let store = store.clone();
            deadline::spawn(async move {
                store.write(move |conn| Ok::<_, StoreError>(things::add(conn, &format!("thing-{n}"), 1)?)).await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    drop(store);
    drop(release);
    for write in writes {
        write.await.expect("no panic").expect("stored");
    }
    assert_eq!(things::count(&things::open(&url)).await, 10);
}
