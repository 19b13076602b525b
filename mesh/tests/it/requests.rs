//! One request id, one resource, one answer.

use std::collections::HashSet;
use std::time::Duration;

use mesh::requests::{self, Claim, RequestKey};
use mesh::store::{Id, Micros, Store, StoreError};
use mesh::testing::database;
use tokio::task::JoinSet;

use crate::things;

async fn claim(store: &Store, key: RequestKey, body: &str, resource: Id) -> Claim {
    let fingerprint = requests::fingerprint(body.as_bytes());
    store
        .write(move |conn| requests::claim(conn, &key, fingerprint, resource, Micros::now()).map_err(StoreError::from))
        .await
        .expect("claimable")
}

#[tokio::test]
async fn repeats_get_the_first_answer() {
    let (_dir, url) = database();
    let store = &things::open(&url);
    let key = RequestKey::new("alice", "/a.B/Create", "r-1");
    let (first, second) = (Id::generate(), Id::generate());
    assert_eq!(claim(store, key, "body", first).await, Claim::New);
    assert_eq!(claim(store, key, "body", second).await, Claim::Repeat { answer: None, resource: first });
    assert_eq!(claim(store, key, "another body", second).await, Claim::Reused);
    let moved =
        move |from, to| store.write(move |conn| requests::reassign(conn, &key, from, to).map_err(StoreError::from));
    assert!(moved(first, second).await.expect("stored"));
    assert!(!moved(first, Id::generate()).await.expect("stored"), "the first is no longer in charge");
    store.write(move |conn| requests::complete(conn, &key, b"answer").map_err(StoreError::from)).await.expect("stored");
    let repeat = Claim::Repeat { answer: Some(b"answer".to_vec()), resource: second };
    assert_eq!(claim(store, key, "body", first).await, repeat);
    assert!(!moved(second, first).await.expect("stored"), "an answered request stays where it is");
    for other in [
        RequestKey::new("bob", "/a.B/Create", "r-1"),
        RequestKey::new("alice", "/a.B/Update", "r-1"),
        RequestKey::new("alice/a.B", "/Create", "r-1"),
    ] {
        assert_eq!(claim(store, other, "body", first).await, Claim::New);
    }
}

#[tokio::test]
async fn a_hundred_claims_at_once_give_one_new() {
    let (_dir, url) = database();
    let store = things::open(&url);
    let key = RequestKey::new("alice", "/a.B/Create", "r-2");
    let mut claims = JoinSet::new();
    for _ in 0..100 {
        let store = store.clone();
        claims.spawn(async move {
            let mine = Id::generate();
            (mine, claim(&store, key, "body", mine).await)
        });
    }
    let outcomes = claims.join_all().await;
    let winners: Vec<_> = outcomes.iter().filter(|(_, claim)| *claim == Claim::New).map(|(mine, _)| *mine).collect();
    assert_eq!(winners.len(), 1);
    let resources: HashSet<_> = outcomes
        .iter()
        .filter_map(|(_, claim)| if let Claim::Repeat { resource, .. } = claim { Some(*resource) } else { None })
        .collect();
    assert_eq!(resources, HashSet::from([winners[0]]));
}

#[tokio::test]
async fn only_old_requests_are_forgotten() {
    let (_dir, url) = database();
    let store = things::open(&url);
    let now = Micros::now();
    let kept = store.write(move |conn| {
        for (n, age) in [(0, 50), (1, 49), (2, 47), (3, 0)] {
            let at = now.minus(Duration::from_hours(age));
            requests::claim(
                conn,
                &RequestKey::new("alice", "/a.B/Create", &n.to_string()),
                [0; 32],
                Id::generate(),
                at,
            )?;
        }
        assert_eq!(requests::prune(conn, now, 1)?, 1, "no more than asked for");
        assert_eq!(requests::prune(conn, now, 100)?, 1);
        assert_eq!(requests::prune(conn, now, 100)?, 0);
        let kept = |n: i32, conn: &mut _| {
            requests::find(conn, &RequestKey::new("alice", "/a.B/Create", &n.to_string()), [0; 32])
        };
        Ok::<_, StoreError>([kept(1, conn)?.is_some(), kept(2, conn)?.is_some(), kept(3, conn)?.is_some()])
    });
    assert_eq!(kept.await.expect("stored"), [false, true, true]);
}
