//! Rebuilding the views from the streams while they are served.

use std::sync::atomic::{AtomicBool, Ordering};

use mesh::client::Channel;
use mesh::fault::reason_of;
use mesh::store::{Store, StoreError};
use mesh::testing::eventually;
use proto::contract::Role;
use proto::reservation::v1::reservation::State;
use proto::view::v1::difference::Kind;
use proto::view::v1::rebuild_views_response::Phase;
use proto::view::v1::view_admin_service_client::ViewAdminServiceClient;
use proto::view::v1::{RebuildViewsRequest, TableComparison};
use tonic::{Code, Status};

use crate::harness::{Harness, MAX_WATCHERS, SOON, get_trip, listing_view, pages_of, serve};
use crate::story::{Place, Story};

fn admin(harness: &Harness, role: Role) -> ViewAdminServiceClient<Channel> {
    ViewAdminServiceClient::new(harness.mesh.user("view", harness.view.address, "olga", role))
}

/// The tables in which something differs, and whether they were swapped.
async fn rebuild(harness: &Harness, swap: bool, allow_loss: bool) -> Result<(Vec<TableComparison>, bool), Status> {
    let request = RebuildViewsRequest { swap, allow_loss, sample_size: 3 };
    let mut told = admin(harness, Role::Operator).rebuild_views(request).await?.into_inner();
    let (mut tables, mut swapped) = (None, false);
    while let Some(progress) = told.message().await? {
        match progress.phase() {
            Phase::Compared => tables = Some(progress.tables),
            Phase::Swapped => swapped = true,
            _ => assert!(progress.replayed_count <= progress.event_count && progress.skipped_count == 0),
        }
    }
    let mut tables = tables.expect("compared");
    assert_eq!(tables.len(), 5);
    tables.retain(|table| table.extra_count + table.missing_count + table.different_count > 0);
    Ok((tables, swapped))
}

/// Once the service has reached the broker, and the rebuild before it has been cleared away.
async fn settled(harness: &Harness, swap: bool, allow_loss: bool) -> Result<(Vec<TableComparison>, bool), Status> {
    eventually(SOON, || async {
        let outcome = rebuild(harness, swap, allow_loss).await;
        let reason = outcome.as_ref().err().and_then(reason_of);
        let passes = matches!(reason.as_deref(), Some("REBUILD_IN_PROGRESS" | "BROKER_UNAVAILABLE"));
        (!passes).then_some(outcome)
    })
    .await
}

async fn rebuilt(harness: &Harness, swap: bool, allow_loss: bool) -> (Vec<TableComparison>, bool) {
    settled(harness, swap, allow_loss).await.expect("rebuilt")
}

/// Writes into the rows behind the service's back.
async fn plant(Harness { mesh, view, publisher }: Harness, statements: &'static [&'static str]) -> Harness {
    view.stop().await;
    let store = Store::open(&mesh.node().data.database(view::NAME), view::NAME, view::MIGRATIONS).expect("it is free");
    let planted = store.write(move |conn| {
        for statement in statements {
            let statement = diesel::sql_query(*statement);
            assert_eq!(mesh::on!(&mut *conn, c => diesel::RunQueryDsl::execute(statement, c))?, 1, "one row");
        }
        Ok::<_, StoreError>(())
    });
    planted.await.expect("planted");
    drop(store);
    Harness { view: serve(&mesh, MAX_WATCHERS).await, mesh, publisher }
}

/// A harness with three bookings of one place, one of them cancelled, all folded.
async fn booked() -> (Harness, Place, Vec<Story>) {
    let mut harness = Harness::start().await;
    let place = Place::of("users/henry");
    let stories: Vec<Story> = (0..3).map(|_| Story::of(&place, "users/alice")).collect();
    let events = stories.iter().flat_map(Story::booking).chain(stories[0].cancellation());
    harness.publisher.publish(place.events().into_iter().chain(events).collect()).await;
    harness.told(&stories[0], State::Cancelled).await;
    for story in &stories[1..] {
        harness.told(story, State::Confirmed).await;
    }
    eventually(SOON, || async { rebuilt(&harness, false, false).await.0.is_empty() }).await;
    (harness, place, stories)
}

/// Design 4.4.6: a rebuild finds exactly what was planted, heals it under load, loses nothing, and no read fails meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn planted_differences_are_found_and_healed_under_load() {
    let (harness, place, stories) = booked().await;
    let mut harness = plant(
        harness,
        &[
            "UPDATE trips SET mileage_points = 77, reservation_state = 9 WHERE id = (SELECT id FROM trips ORDER BY id LIMIT 1)",
            "DELETE FROM listing_views",
            "DELETE FROM timeline WHERE event_id = (SELECT event_id FROM timeline ORDER BY event_id LIMIT 1)",
        ],
    )
    .await;
    for _ in 0..2 {
        let (tables, swapped) = rebuilt(&harness, false, false).await;
        assert!(!swapped, "it was not asked for");
        let found: Vec<_> = tables
            .iter()
            .map(|table| (table.table.as_str(), table.extra_count, table.missing_count, table.different_count))
            .collect();
        assert_eq!(found, [("timeline", 0, 1, 0), ("trips", 0, 0, 1), ("listing_views", 0, 1, 0)]);
        let samples: Vec<_> =
            tables.iter().flat_map(|table| &table.samples).map(|sample| (&*sample.key, sample.kind())).collect();
        let [timeline, trip, listing] = samples.as_slice() else { panic!("{samples:?}") };
        assert!(timeline.1 == Kind::Missing && timeline.0.contains('/'));
        assert_eq!(*trip, (stories[0].reservation.to_string().as_str(), Kind::Different));
        assert_eq!(*listing, (place.id.to_string().as_str(), Kind::Missing));
    }

    // Bookings go on, and somebody looks all the time.
    let spare = harness.mesh.publisher().await;
    let mut publisher = std::mem::replace(&mut harness.publisher, spare);
    let done = AtomicBool::new(false);
    let read = async {
        while !done.load(Ordering::Relaxed) {
            get_trip(&mut harness.operator(), &stories[1]).await.expect("reads go on");
        }
    };
    let load = async {
        let mut more = Vec::new();
        while !done.load(Ordering::Relaxed) {
            more.push(Story::of(&place, "users/bob"));
            publisher.publish(more.last().map(Story::booking).unwrap_or_default()).await;
            tokio::task::yield_now().await;
        }
        more
    };
    let heal = async {
        let healed = rebuilt(&harness, true, false).await;
        done.store(true, Ordering::Relaxed);
        healed
    };
    let ((), more, (_, swapped)) = tokio::join!(read, load, heal);
    assert!(swapped && !more.is_empty());

    let healed = get_trip(&mut harness.operator(), &stories[0]).await.expect("a trip");
    assert_eq!((healed.mileage_points, healed.reservation.map(|told| told.state())), (0, Some(State::Cancelled)));
    assert!(listing_view(harness.operator(), &place).await.is_some(), "it is there again");
    harness.folded(&stories[0], 15).await;
    for story in &more {
        harness.told(story, State::Confirmed).await;
    }
    assert_eq!(rebuilt(&harness, false, false).await.0, []);
    assert_eq!(
        harness.operator().list_trips(pages_of(500)).await.expect("a page").into_inner().trips.len(),
        3 + more.len().min(497)
    );
    harness.view.stop().await;
}

/// What the views have seen and no stream has is not thrown away unasked.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_only_the_views_have_are_not_lost_unasked() {
    let (harness, _, stories) = booked().await;
    let harness = plant(
        harness,
        &["INSERT INTO timeline SELECT reservation, reservation, at, kind, resource, version, causation, trace_id, summary \
           FROM timeline WHERE event_id = (SELECT event_id FROM timeline ORDER BY event_id LIMIT 1)"],
    )
    .await;
    let refused = settled(&harness, true, false).await.expect_err("an event would be lost");
    assert_eq!(
        (refused.code(), reason_of(&refused).as_deref()),
        (Code::FailedPrecondition, Some("EVENTS_WOULD_BE_LOST"))
    );
    harness.folded(&stories[0], 16).await;
    let (tables, swapped) = rebuilt(&harness, true, true).await;
    assert!(swapped && tables[0].extra_count == 1);
    harness.folded(&stories[0], 15).await;
    harness.view.stop().await;
}

/// One at a time; one whose caller goes away ends, has changed nothing, and leaves room for the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_cut_off_changes_nothing_and_can_be_repeated() {
    let (harness, ..) = booked().await;
    let harness =
        plant(harness, &["UPDATE trips SET message_count = 9 WHERE id = (SELECT id FROM trips ORDER BY id LIMIT 1)"])
            .await;
    let request = RebuildViewsRequest { swap: true, ..RebuildViewsRequest::default() };
    let cut_off = admin(&harness, Role::Operator).rebuild_views(request).await.expect("begun").into_inner();
    drop(cut_off);
    let (tables, _) = rebuilt(&harness, true, false).await;
    // The first may have been done before its caller was seen to be gone.
    assert!(tables.is_empty() || (tables.len(), tables[0].different_count) == (1, 1), "{tables:?}");
    assert_eq!(rebuilt(&harness, false, false).await, (Vec::new(), false));
    let data = harness.mesh.node().data.data_dir;
    eventually(SOON, || async { !data.join("view.db.rebuild").exists() }).await;
    harness.view.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_operator_rebuilds() {
    let harness = Harness::start().await;
    for role in [Role::Customer, Role::Host] {
        let refused = admin(&harness, role).rebuild_views(RebuildViewsRequest::default()).await;
        assert_eq!(refused.expect_err("refused").code(), Code::PermissionDenied);
    }
    harness.view.stop().await;
}
