//! Transactions: all or nothing, each caller alone, and what happens under pressure.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::pg::PgConnection;
use diesel::sql_types::Bool;
use diesel::{Connection as _, RunQueryDsl as _};
use mesh::deadline::{self, Deadline};
use mesh::outbox;
use mesh::store::{Conn, DatabaseUrl, OpenError, POSTGRES_CONNECTIONS, Store, StoreError};
use mesh::testing::{Broker, database, eventually, first_release, postgres, sqlite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::events::{all_published, relay, stream_content};
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

/// A statement of SQLite's cannot be stopped, but the next one need not begin.
#[tokio::test]
async fn late_work_stops_between_its_statements() {
    let (_dir, url) = database();
    let store = things::open(&url);
    let budget = Duration::from_millis(30);
    let went_on = Arc::new(AtomicBool::new(false));
    let goes_on = went_on.clone();
    let slow = store.write(move |conn| {
        std::thread::sleep(2 * budget);
        things::add(conn, "late", 1)?;
        goes_on.store(true, Ordering::Relaxed);
        Ok::<_, StoreError>(())
    });
    assert!(matches!(deadline::scope(Deadline::after(budget), slow).await, Err(StoreError::Deadline)));
    assert!(!went_on.load(Ordering::Relaxed), "a statement was run for nobody");
    // The deadline was that one's only.
    store.write(|conn| Ok::<_, StoreError>(things::add(conn, "next", 1)?)).await.expect("stored");
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

/// K3: nobody waits for it any more, so the server does not go on either.
#[tokio::test]
async fn a_postgres_statement_stops_at_the_deadline() {
    let store = things::open(&postgres().url);
    let sleep =
        |conn: &mut Conn| mesh::on!(conn, c => c.batch_execute("SELECT pg_sleep(30)")).map_err(StoreError::from);
    let started = std::time::Instant::now();
    let within = || Deadline::after(Duration::from_millis(50));
    let written = deadline::scope(within(), store.write(sleep)).await;
    assert!(matches!(written, Err(StoreError::Deadline)), "{written:?}");
    let read = deadline::scope(within(), store.read(sleep)).await;
    assert!(matches!(read, Err(StoreError::Deadline)), "{read:?}");
    assert!(started.elapsed() < SOON);
    // That was this one's limit only.
    for _ in 0..2 * POSTGRES_CONNECTIONS {
        let nap =
            |conn: &mut Conn| mesh::on!(conn, c => c.batch_execute("SELECT pg_sleep(0.2)")).map_err(StoreError::from);
        store.read(nap).await.expect("has all the time");
    }
}

/// K3: nor does it for a process that has died, whose connections the kernel closes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_statement_stops_when_its_process_is_gone() {
    let DatabaseUrl::Postgres(url) = postgres().url else { unreachable!("asked for PostgreSQL") };
    let server: SocketAddr = url.split(['@', '/']).nth(3).expect("an authority").parse().expect("an address");
    let gone = CancellationToken::new();
    let wire = wire(server, gone.clone()).await;
    let store = things::open(&DatabaseUrl::Postgres(url.replace(&server.to_string(), &wire.to_string())));
    drop(deadline::spawn(async move {
        store.read(|conn| mesh::on!(conn, c => c.batch_execute("SELECT pg_sleep(29)")).map_err(StoreError::from)).await
    }));
    let watcher = Mutex::new(PgConnection::establish(&url).expect("a connection"));
    let goes_on = || {
        let found = "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                     AND query = 'SELECT pg_sleep(29)')";
        let mut watcher = watcher.lock().expect("not poisoned");
        diesel::select(sql::<Bool>(found)).get_result::<bool>(&mut *watcher).expect("the server answers")
    };
    eventually(SOON, || async { goes_on() }).await;
    gone.cancel();
    eventually(SOON, || async { !goes_on() }).await;
}

/// Where connections to a server pass that all end when somebody is gone.
async fn wire(server: SocketAddr, gone: CancellationToken) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(deadline::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let gone = gone.clone();
            drop(deadline::spawn(async move {
                let mut far = TcpStream::connect(server).await.expect("the server listens");
                gone.run_until_cancelled(tokio::io::copy_bidirectional(&mut near, &mut far)).await
            }));
        }
    }));
    address
}

/// Of two transactions that wait for each other the database ends one. Its caller is told, and succeeds when it comes back.
#[tokio::test]
async fn a_deadlock_s_victim_loses_nothing_but_its_turn() {
    let store = things::open(&postgres().url);
    let both_hold_one = Arc::new(std::sync::Barrier::new(2));
    let add_both = |first: &'static str, second: &'static str| {
        let both_hold_one = both_hold_one.clone();
        store.write(move |conn| {
            things::add(conn, first, 1)?;
            both_hold_one.wait();
            Ok::<_, StoreError>(things::add(conn, second, 1)?)
        })
    };
    let (one, other) = tokio::join!(add_both("left", "right"), add_both("right", "left"));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    let victim = one.err().or(other.err()).expect("one of them");
    assert!(matches!(victim, StoreError::Database(_)), "which is answered UNAVAILABLE: {victim:?}");
    let again = store.write(|conn| {
        things::add(conn, "left", 1)?;
        Ok::<_, StoreError>(things::add(conn, "right", 1)?)
    });
    assert_eq!(again.await.expect("free now"), 2);
    assert_eq!(things::number(&store, "left").await, Some(2));
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
async fn a_database_of_a_later_release_is_refused() {
    let (_dir, url) = database();
    let store = things::open(&url);
    let later = "INSERT INTO __diesel_schema_migrations (version) VALUES ('0002')";
    let upgrade = |conn: &mut Conn| mesh::on!(conn, c => c.batch_execute(later)).map_err(StoreError::from);
    store.write(upgrade).await.expect("as the later release did");
    drop(store);
    let Err(error) = Store::open(&url, things::SERVICE, things::migrations()) else { panic!("opened") };
    assert!(matches!(&error, OpenError::Newer(version) if version == "0002"), "{error:?}");
}

/// This crate's own tables of the first release, with an event that was published and one that was not.
#[tokio::test]
async fn the_outbox_of_the_first_release_is_published_after_the_upgrade() {
    let (_dir, url) = database();
    {
        let conn = &mut first_release(&url, things::SERVICE, things::migrations());
        let events = [things::made("things/told", 1), things::made("things/waiting", 1)];
        outbox::push_all(conn, things::SERVICE, &events).expect("two events");
        let told = "UPDATE outbox SET published_at = created_at WHERE aggregate = 'things/told'; UPDATE outbox_progress SET stream_sequence = 1";
        mesh::on!(conn, c => c.batch_execute(told)).expect("as its relay did");
    }
    let (broker, store) = (Broker::start().await, things::open(&url));
    let relay = relay(&store, &broker).await;
    all_published(&store).await;
    // The new broker has not what was told: that is told again.
    let mut content = stream_content(&broker, "TEST").await;
    content.sort_unstable();
    assert_eq!(content, [("things/told".to_owned(), 1), ("things/waiting".to_owned(), 1)]);
    relay.stop().await;
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
