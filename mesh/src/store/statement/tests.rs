use std::sync::{Arc, Mutex};

use diesel::connection::{Connection, InstrumentationEvent, SimpleConnection};
use diesel::pg::PgConnection;
use diesel::sql_types::{BigInt, Binary, Bool, Integer, Nullable, SmallInt, Text};
use diesel::sqlite::SqliteConnection;

use super::super::{DatabaseUrl, Fetch};
use super::*;
use crate::testing::postgres;

type Columns = (
    Binary,
    Nullable<SmallInt>,
    Nullable<Integer>,
    Nullable<BigInt>,
    Nullable<Bool>,
    Nullable<Text>,
    Nullable<Binary>,
    Nullable<BigInt>,
);
type Row = (Id, Option<i16>, Option<i32>, Option<i64>, Option<bool>, Option<String>, Option<Vec<u8>>, Option<Micros>);

/// A connection to each database, with a table of every type.
fn connections() -> [Conn; 2] {
    let DatabaseUrl::Postgres(url) = postgres().url else { unreachable!("made as PostgreSQL") };
    let mut sqlite = SqliteConnection::establish(":memory:").expect("opens");
    let mut postgres = PgConnection::establish(&url).expect("opens");
    sqlite
        .batch_execute(
            "CREATE TABLE things (id BLOB PRIMARY KEY, small INTEGER, middle INTEGER, big INTEGER CHECK (big >= 0), yes INTEGER, name TEXT, \
             bytes BLOB, at INTEGER) STRICT",
        )
        .expect("a table");
    postgres
        .batch_execute(
            "CREATE TABLE things (id BYTEA PRIMARY KEY, small SMALLINT, middle INTEGER, big BIGINT CHECK (big >= 0), yes BOOLEAN, name TEXT, \
             bytes BYTEA, at BIGINT)",
        )
        .expect("a table");
    [Conn::Sqlite(sqlite), Conn::Postgres(postgres)]
}

/// Counts from now on how often the connection prepares a statement to keep, and how often it starts one.
fn count(conn: &mut Conn) -> Arc<Mutex<(usize, usize)>> {
    let counts = Arc::new(Mutex::new((0, 0)));
    let seen = Arc::clone(&counts);
    let note = move |event: InstrumentationEvent<'_>| match event {
        InstrumentationEvent::CacheQuery { .. } => seen.lock().expect("unpoisoned").0 += 1,
        InstrumentationEvent::StartQuery { .. } => seen.lock().expect("unpoisoned").1 += 1,
        _ => {}
    };
    crate::on!(conn, c => c.set_instrumentation(note));
    counts
}

fn insert(conn: &mut Conn, id: Id, big: i64) -> QueryResult<()> {
    upsert(
        conn,
        "INSERT INTO things (id, big)",
        &[[id.into(), big.into()]],
        "ON CONFLICT (id) DO UPDATE SET big = things.big + excluded.big",
    )
}

fn big(conn: &mut Conn, id: Id) -> Option<i64> {
    statement!("SELECT big FROM things WHERE id = ?", id).returning::<BigInt>().one(conn).expect("reads")
}

#[test]
fn every_type_and_its_null_survive_both_databases() {
    const INSERT: &str = "INSERT INTO things (id, small, middle, big, yes, name, bytes, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
                          RETURNING id, small, middle, big, yes, name, bytes, at";
    for mut conn in connections() {
        let (id, other) = (Id::generate(), Id::generate());
        let full = statement!(INSERT, id, -1_i16, 2_i32, 3_i64, true, "it's?", [4_u8, 0].as_slice(), Micros(5));
        let row: Option<Row> = full.returning::<Columns>().one(&mut conn).expect("stored");
        let name = Some("it's?".to_owned());
        assert_eq!(row, Some((id, Some(-1), Some(2), Some(3), Some(true), name, Some(vec![4, 0]), Some(Micros(5)))));
        let empty = statement!(
            INSERT,
            other,
            None::<i16>,
            None::<i32>,
            None::<i64>,
            None::<bool>,
            None::<&str>,
            None::<&[u8]>,
            None::<Micros>
        );
        let rows: Vec<Row> = empty.returning::<Columns>().all(&mut conn).expect("stored");
        assert_eq!(rows, [(other, None, None, None, None, None, None, None)]);
    }
}

#[test]
fn a_statement_is_prepared_once_and_answers_the_rows_it_touched() {
    for mut conn in connections() {
        let (id, absent) = (Id::generate(), Id::generate());
        insert(&mut conn, id, 0).expect("stored");
        let counts = count(&mut conn);
        for (n, id, touched) in [(7_i64, id, 1), (8, absent, 0), (9, id, 1)] {
            let update = statement!("UPDATE things SET big = ? WHERE id = ?", n, id);
            assert_eq!(update.exec(&mut conn).expect("runs"), touched);
        }
        assert_eq!(*counts.lock().expect("unpoisoned"), (1, 3), "prepared, run");
        assert_eq!(big(&mut conn, id), Some(9));
    }
}

#[test]
fn a_refused_statement_fails_alone() {
    for mut conn in connections() {
        let id = Id::generate();
        insert(&mut conn, id, 1).expect("stored");
        for (n, accepted) in [(2_i64, true), (-1, false), (3, true)] {
            let update = statement!("UPDATE things SET big = ? WHERE id = ?", n, id).exec(&mut conn);
            assert_eq!(update.is_ok(), accepted, "{update:?}");
        }
        assert_eq!(big(&mut conn, id), Some(3));
    }
}

#[test]
fn an_upsert_of_one_row_is_prepared_once() {
    for mut conn in connections() {
        let id = Id::generate();
        let counts = count(&mut conn);
        for _ in 0..3 {
            insert(&mut conn, id, 5).expect("stored");
        }
        assert_eq!(*counts.lock().expect("unpoisoned"), (1, 3), "prepared, run");
        assert_eq!(big(&mut conn, id), Some(15));
    }
}

#[test]
fn an_upsert_takes_any_number_of_rows() {
    for mut conn in connections() {
        let ids = [Id::generate(), Id::generate(), Id::generate()];
        let counts = count(&mut conn);
        insert(&mut conn, ids[1], 1).expect("stored");
        let rows = ids.map(|id| [Bind::from(id), Bind::from(10_i64)]);
        let on_conflict = "ON CONFLICT (id) DO UPDATE SET big = things.big + excluded.big";
        upsert(&mut conn, "INSERT INTO things (id, big)", &rows, on_conflict).expect("stored");
        let run = match conn {
            Conn::Sqlite(_) => 1 + ids.len(),
            Conn::Postgres(_) => 1 + 1,
        };
        assert_eq!(*counts.lock().expect("unpoisoned"), (1, run), "prepared to keep, run");
        upsert::<2>(&mut conn, "INSERT INTO things (id, big)", &[], on_conflict).expect("nothing to do");
        assert_eq!(ids.map(|id| big(&mut conn, id)), [Some(10), Some(11), Some(10)]);
    }
}

#[test]
fn the_text_needs_a_mark_for_each_value() {
    assert_eq!(expect_binds("a = ? AND b = ?", 2), "a = ? AND b = ?");
    for binds in [1, 3] {
        std::panic::catch_unwind(|| expect_binds("a = ? AND b = ?", binds)).expect_err("refused");
    }
}
