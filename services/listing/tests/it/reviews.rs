//! Reviews: by guests only, counted exactly.

use listing::app::ReviewKey;
use listing::domain::{Platform, Review, ReviewAfter};
use mesh::store::Id;
use mesh::testing::TestMesh;
use mesh::value::{Page, PageSize};
use proto::contract::Role;
use proto::listing::v1 as pb;
use proto::reservation::v1::{ReservationCompleted, ReservationConfirmed};

use crate::harness::{Database, Server, hold, name_of, received, request, stay};

const CONTENT: &str = "조용하고 좋아요";

/// `chris` stays; answers the reservation.
async fn guest(db: &Database, listing: Id) -> Id {
    let request = hold(listing, stay(0, 1), 1);
    let reservation = request.reservation;
    db.place_hold(request).await.expect("held");
    db.hear(vec![received(reservation, |reservation| ReservationConfirmed { reservation })]).await;
    reservation
}

fn key(review: &Review) -> ReviewKey {
    ReviewKey { listing: review.listing, id: review.id }
}

async fn count(db: &Database, listing: Id) -> i32 {
    db.get_listing(listing).await.expect("a listing").review_count
}

/// A7, T19.
#[tokio::test(flavor = "multi_thread")]
async fn only_guests_review() {
    let db = Database::new();
    let listing = db.listing(9).await.id;
    let attempt = |author: &'static str| {
        let app = db.app.clone();
        async move {
            app.create_review(listing, author, CONTENT.to_owned(), request()).await.map_err(|error| name_of(&error))
        }
    };
    assert_eq!(attempt("chris").await.expect_err("a stranger"), "ReviewNotAllowed");
    db.place_hold(hold(listing, stay(0, 1), 1)).await.expect("held");
    assert_eq!(attempt("chris").await.expect_err("not confirmed"), "ReviewNotAllowed");
    let reservation = guest(&db, listing).await;
    attempt("chris").await.expect("a guest");
    assert_eq!(attempt("mallory").await.expect_err("a stranger"), "ReviewNotAllowed");
    db.release_hold(reservation).await.expect("released");
    assert_eq!(attempt("chris").await.expect_err("cancelled"), "ReviewNotAllowed");
    let absent = db.create_review(Id::generate(), "chris", CONTENT.to_owned(), request()).await;
    assert_eq!(name_of(&absent.expect_err("no listing")), "ListingNotFound");
    assert_eq!(count(&db, listing).await, 1);
    db.assert_sound().await;
}

/// T19.
#[tokio::test(flavor = "multi_thread")]
async fn the_platform_decides_how_far_a_guest_must_be() {
    let db = Database::new();
    let listing = db.listing(9).await.id;
    let strict = db.under(Platform { review_after: ReviewAfter::Completed, ..Platform::default() });
    let reservation = guest(&db, listing).await;
    let refused = strict.create_review(listing, "chris", CONTENT.to_owned(), request()).await.expect_err("too early");
    assert_eq!(name_of(&refused), "ReviewNotAllowed");
    db.hear(vec![received(reservation, |reservation| ReservationCompleted { reservation })]).await;
    for app in [&strict, &db.app] {
        app.create_review(listing, "chris", CONTENT.to_owned(), request()).await.expect("a guest");
    }
    assert_eq!(count(&db, listing).await, 2);
    db.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_author_changes_a_review() {
    let db = Database::new();
    let listing = db.listing(9).await.id;
    guest(&db, listing).await;
    let review = db.create_review(listing, "chris", CONTENT.to_owned(), request()).await.expect("a guest");
    let other = ReviewKey { listing: Id::generate(), ..key(&review) };
    for (key, author) in [(key(&review), "mallory"), (other, "chris")] {
        assert_eq!(
            name_of(&db.update_review(key, author, "!".to_owned()).await.expect_err("not theirs")),
            "ReviewNotFound"
        );
        assert_eq!(name_of(&db.delete_review(key, author).await.expect_err("not theirs")), "ReviewNotFound");
    }
    let changed = db.update_review(key(&review), "chris", "better".to_owned()).await.expect("their own");
    assert_eq!((changed.version, db.get_review(key(&review)).await.expect("a review")), (2, changed.clone()));
    for _ in 0..2 {
        db.delete_review(key(&review), "chris").await.expect("their own");
        assert_eq!(count(&db, listing).await, 0);
    }
    assert_eq!(name_of(&db.get_review(key(&review)).await.expect_err("deleted")), "ReviewNotFound");
    assert_eq!(
        name_of(&db.update_review(key(&review), "chris", "!".to_owned()).await.expect_err("deleted")),
        "ReviewNotFound"
    );
    db.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_review_is_one() {
    let db = Database::new();
    let listing = db.listing(9).await.id;
    let reservation = guest(&db, listing).await;
    let first = request();
    let review = db.create_review(listing, "chris", CONTENT.to_owned(), first).await.expect("a guest");
    db.delete_review(key(&review), "chris").await.expect("their own");
    db.release_hold(reservation).await.expect("released");
    assert_eq!(db.create_review(listing, "chris", CONTENT.to_owned(), first).await.expect("a repeat"), review);
    let reused = listing::app::Request { fingerprint: [1; 32], ..first };
    let refused = db.create_review(listing, "chris", "other".to_owned(), reused).await.expect_err("reused");
    assert_eq!(name_of(&refused), "RequestIdReused");
    assert_eq!(count(&db, listing).await, 0);
    db.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_reviews_are_counted() {
    let db = Database::new();
    let listing = db.listing(9).await.id;
    guest(&db, listing).await;
    let tasks: Vec<_> = (0..64)
        .map(|number| {
            let app = db.app.clone();
            mesh::deadline::spawn(async move {
                let review = app.create_review(listing, "chris", CONTENT.to_owned(), request()).await.expect("a guest");
                if number % 4 == 0 {
                    app.delete_review(key(&review), "chris", None).await.expect("their own");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(count(&db, listing).await, 48);
    let page = Page::parse(PageSize::STANDARD, 0, "", &["reviews"]).expect("a page");
    assert_eq!(db.list_reviews(listing, page).await.expect("a page").len(), 48);
    db.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_travel_over_the_wire() {
    let server = Server::start(TestMesh::without_broker()).await;
    let listing = server.listing().await.name;
    let review = Some(pb::Review { content: CONTENT.to_owned(), ..Default::default() });
    let request = pb::CreateReviewRequest { parent: listing.clone(), review, request_id: Id::generate().to_string() };
    let refused = server.reviews("chris", Role::Customer).create_review(request).await.expect_err("a stranger");
    assert_eq!(mesh::fault::reason_of(&refused).as_deref(), Some("REVIEW_NOT_ALLOWED"));
    let name = format!("{listing}/reviews/{}", Id::generate());
    let refused =
        server.reviews("chris", Role::Customer).get_review(pb::GetReviewRequest { name }).await.expect_err("none");
    assert_eq!(mesh::fault::reason_of(&refused).as_deref(), Some("REVIEW_NOT_FOUND"));
    let request = pb::ListReviewsRequest { parent: listing, ..Default::default() };
    let empty = server.reviews("olga", Role::Operator).list_reviews(request).await.expect("a page");
    assert_eq!(empty.into_inner(), pb::ListReviewsResponse::default());
    server.stop().await;
}
