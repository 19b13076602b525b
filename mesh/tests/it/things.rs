//! A tiny service for the tests: named counters, and an event for every change.

use diesel::QueryResult;
use diesel::prelude::{ExpressionMethods, QueryDsl};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use mesh::event::NewEvent;
use mesh::outbox;
use mesh::store::{Conn, DatabaseUrl, Fetch, Id, Micros, Migrations, Store, StoreError};
use proto::contract::Event;

pub(crate) const SERVICE: &str = "test";
const SQLITE: EmbeddedMigrations = embed_migrations!("tests/it/migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("tests/it/migrations/postgres");

diesel::table! {
    things (name) {
        name -> Text,
        number -> BigInt,
    }
}
use things::dsl as t;

pub(crate) fn open(url: &DatabaseUrl) -> Store {
    Store::open(url, SERVICE, migrations()).expect("the store opens")
}

pub(crate) fn migrations() -> Migrations {
    Migrations { sqlite: SQLITE, postgres: POSTGRES }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Made {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int64, tag = "2")]
    pub(crate) number: i64,
}

impl Event for Made {
    const TYPE: &'static str = "holdfast.test.v1.Made";
    const STREAM: &'static str = "TEST";
    const SUBJECT: &'static str = "holdfast.evt.test.thing.made.v1";

    fn key(&self) -> &str {
        &self.name
    }
}

pub(crate) fn made(name: &str, number: i64) -> NewEvent {
    let event = Made { name: name.to_owned(), number };
    NewEvent::of(&event, Id::generate(), number, name, None, Micros::now())
}

/// Adds to a counter, which is made if missing; answers the sum.
pub(crate) fn add(conn: &mut Conn, name: &str, number: i64) -> QueryResult<i64> {
    use diesel::upsert::excluded;
    let row = (t::name.eq(name), t::number.eq(number));
    let upsert = diesel::insert_into(t::things)
        .values(row)
        .on_conflict(t::name)
        .do_update()
        .set(t::number.eq(t::number + excluded(t::number)));
    upsert.returning(t::number).one(conn)?.ok_or(diesel::NotFound)
}

/// Counts up and tells of it.
pub(crate) fn make(conn: &mut Conn, name: &str) -> QueryResult<i64> {
    let number = add(conn, name, 1)?;
    outbox::push(conn, SERVICE, &made(name, number))?;
    Ok(number)
}

pub(crate) async fn number(store: &Store, name: &str) -> Option<i64> {
    let name = name.to_owned();
    store
        .read(move |conn| t::things.find(name).select(t::number).one(conn).map_err(StoreError::from))
        .await
        .expect("readable")
}

pub(crate) async fn count(store: &Store) -> i64 {
    let count: Option<i64> =
        store.read(|conn| t::things.count().one(conn).map_err(StoreError::from)).await.expect("readable");
    count.expect("a count has a row")
}

pub(crate) async fn waiting(store: &Store) -> i64 {
    store.read(|conn| outbox::backlog(conn).map_err(StoreError::from)).await.expect("readable").0
}
