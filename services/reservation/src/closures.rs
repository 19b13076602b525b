//! Forced cancellation: a deleted listing's open reservations are cancelled, a page in each transaction.
//!
//! Several processes may work on one listing, and one may end in the middle: each cancels what it finds open. What was held
//! before the deletion is found, since its intent was stored before; what comes after is refused by listing.

use std::{collections::HashMap, time::Duration};

use mesh::{
    crash_point,
    event::NewEvent,
    store::{Id, Micros, Store, StoreError},
};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::Reservation,
    events,
    store::{
        self,
        closures::{self, Closure},
        sagas::{self, Overtaken, Saga},
    },
};

/// How often a process looks for deletions.
const PERIOD: Duration = Duration::from_millis(200);
/// Reservations in one transaction.
const PAGE: i64 = 256;

/// Cancels until `shutdown`.
pub(crate) async fn run(store: Store, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(PERIOD)).await.is_some() {
        if let Err(error) = cancel_all(&store, &shutdown).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot cancel a deleted listing's reservations");
        }
    }
}

async fn cancel_all(store: &Store, shutdown: &CancellationToken) -> Result<(), StoreError> {
    for closure in store.read(|conn| Ok::<_, StoreError>(closures::all(conn)?)).await? {
        while !shutdown.is_cancelled() && cancel_page(store, closure.clone()).await? {}
    }
    Ok(())
}

/// Cancels a page; `false` when there was none, and the closure is done.
async fn cancel_page(store: &Store, closure: Closure) -> Result<bool, StoreError> {
    let listing = closure.listing_id;
    let (mut open, sagas) = store
        .read(move |conn| {
            let open = closures::page(conn, listing, PAGE)?;
            let ids: Vec<Id> = open.iter().map(|reservation| reservation.id).collect();
            Ok::<_, StoreError>((open, sagas::find_all(conn, &ids)?))
        })
        .await?;
    if open.is_empty() {
        crash_point!("reservation.closure.ending");
        store.write(move |conn| Ok::<_, StoreError>(closures::close(conn, listing)?)).await?;
        return Ok(false);
    }
    // One order in every process, so that none waits for the other.
    open.sort_unstable_by_key(|reservation| reservation.id);
    let mut sagas: HashMap<Id, Saga> = sagas.into_iter().map(|saga| (saga.reservation, saga)).collect();
    let page: Vec<_> = open.into_iter().map(|seen| (sagas.remove(&seen.id), seen)).collect();
    let cancelled = page.len();
    let written = store
        .write(move |conn| {
            for (saga, seen) in &page {
                if !cancel(conn, seen, saga.as_ref(), &closure)? {
                    return Err(StoreError::Database(diesel::result::Error::RollbackTransaction));
                }
            }
            crash_point!("reservation.closure.page.uncommitted");
            Ok(())
        })
        .await;
    crash_point!("reservation.closure.page.committed");
    match written {
        Ok(()) => tracing::info!(%listing, cancelled, "reservations of a deleted listing are cancelled"),
        // Somebody moved one of them meanwhile: look again.
        Err(StoreError::Database(diesel::result::Error::RollbackTransaction)) => {}
        Err(error) => return Err(error),
    }
    Ok(true)
}

fn cancel(
    conn: &mut mesh::store::Conn,
    seen: &Reservation,
    saga: Option<&Saga>,
    closure: &Closure,
) -> diesel::QueryResult<bool> {
    let change = seen.force_cancelled(Micros::now());
    let because =
        |event| NewEvent { causation: Some(closure.event_id), traceparent: closure.traceparent.clone(), ..event };
    let events: Vec<NewEvent> = events::of(&change).into_iter().map(because).collect();
    if !store::change(conn, seen.version, &change.next, &events)? {
        return Ok(false);
    }
    match saga {
        // One that is turned already ends by itself.
        None | Some(Saga { failure: Some(_), .. }) => Ok(true),
        Some(saga) => {
            let how = if saga.works() { Overtaken::Undoes } else { Overtaken::Ends };
            sagas::overtake(conn, saga, how)
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh::{
        requests::RequestKey,
        testing,
        value::{Currency, Money},
    };

    use super::*;
    use crate::{
        MIGRATIONS, NAME,
        domain::{Deal, Described, Payment, Policy, Slot, State, Wish},
    };

    /// A confirmed screening.
    fn confirmed(listing: Id, number: usize) -> (Reservation, Saga) {
        let wish = Wish {
            listing,
            slot: Slot::None,
            units: 1,
            persons: 1,
            note: String::new(),
            language: String::new(),
            payment_method: None,
            expected_total: None,
        };
        let now = Micros::now();
        let requested = Reservation::request(Id::generate(), format!("guest-{number}"), &wish, now);
        let saga = Saga::begin(&requested, RequestKey::new("guest", "Create", &number.to_string()), &wish, now);
        let deal = Deal {
            total: Money::from_minor(0, Currency::KRW),
            host: "hana".to_owned(),
            policy: Policy { payment: Payment::None, ..Policy::default() },
            described: Described::default(),
        };
        (requested.held(deal), saga)
    }

    async fn counts(store: &Store) -> (usize, usize) {
        store
            .read(|conn| {
                let all = store::all(conn)?;
                let cancelled = all.iter().filter(|found| found.state == State::ForceCancelled).count();
                Ok::<_, StoreError>((cancelled, closures::all(conn)?.len()))
            })
            .await
            .expect("readable")
    }

    /// T22: more than two pages, and an end in between.
    #[tokio::test]
    async fn a_restart_between_two_pages_loses_and_repeats_nothing() {
        const MANY: usize = 2 * PAGE as usize + 88;
        let (_dir, url) = testing::database();
        let open = || Store::open(&url, NAME, MIGRATIONS).expect("a file");
        let (store, listing) = (open(), Id::generate());
        let closure = Closure { listing_id: listing, event_id: Id::generate(), traceparent: None };
        let stored = closure.clone();
        store
            .write(move |conn| {
                for number in 0..MANY {
                    let (held, saga) = confirmed(listing, number);
                    let key = saga.request.expect("it begins with one");
                    store::begin(conn, &key, [0; 32], &Reservation { deal: None, ..held.clone() }, &saga)?;
                    let change = held.booked(None, Micros::now());
                    assert!(store::settle(conn, &saga, 1, &change.next, &events::of(&change), None, None)?);
                }
                Ok::<_, StoreError>(closures::open(conn, &stored)?)
            })
            .await
            .expect("stored");

        assert!(cancel_page(&store, closure).await.expect("a page"));
        assert_eq!(counts(&store).await, (PAGE as usize, 1));
        drop(store);
        let store = open();
        let shutdown = CancellationToken::new();
        cancel_all(&store, &shutdown).await.expect("the rest");
        assert_eq!(counts(&store).await, (MANY, 0));
        let told = store.read(|conn| Ok::<_, StoreError>(mesh::outbox::backlog(conn)?)).await.expect("readable").0;
        assert_eq!(told, i64::try_from(3 * MANY).expect("few"), "requested, confirmed, and once cancelled");
    }
}
