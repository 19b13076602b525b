//! One diesel statement for both databases.
//!
//! A statement is plain diesel. The two blanket traits say "both connections can run this", so the compiler refuses a statement that only
//! one database understands, and everything is dispatched statically to the real connection. Import [`Exec`] and [`Fetch`] instead of
//! `diesel::RunQueryDsl`; what is typed by backend (boxed queries, `FOR UPDATE`) is written twice inside [`on!`](crate::on).

use diesel::QueryResult;
use diesel::pg::PgConnection;
use diesel::query_dsl::LoadQuery;
use diesel::query_dsl::methods::ExecuteDsl;
use diesel::sqlite::SqliteConnection;

use super::late;

/// A connection to one of the two databases. It never leaves the thread that owns it.
pub enum Conn {
    /// An SQLite file.
    Sqlite(SqliteConnection),
    /// A PostgreSQL session.
    Postgres(PgConnection),
}

/// Evaluates the same expression on whichever connection it is: `on!(conn, c => query.load(c))`.
#[macro_export]
macro_rules! on {
    ($conn:expr, $c:ident => $body:expr) => {
        match $conn {
            $crate::store::Conn::Sqlite($c) => $body,
            $crate::store::Conn::Postgres($c) => $body,
        }
    };
}

/// Statements that both databases can run.
pub trait Exec: ExecuteDsl<SqliteConnection> + ExecuteDsl<PgConnection> + Sized {
    /// Runs the statement; answers the number of rows it touched.
    ///
    /// # Errors
    /// Whatever the database refuses, and a deadline that has passed: the statement is then not begun.
    fn exec(self, conn: &mut Conn) -> QueryResult<usize> {
        late::check()?;
        on!(conn, c => ExecuteDsl::execute(self, c))
    }
}

impl<Q> Exec for Q where Q: ExecuteDsl<SqliteConnection> + ExecuteDsl<PgConnection> {}

/// Queries (and statements with RETURNING) that both databases can run.
pub trait Fetch<'query, Row>:
    LoadQuery<'query, SqliteConnection, Row> + LoadQuery<'query, PgConnection, Row> + Sized
{
    /// Every row.
    ///
    /// # Errors
    /// Whatever the database refuses, a row that does not fit its type, and a deadline that has passed.
    fn all(self, conn: &mut Conn) -> QueryResult<Vec<Row>> {
        late::check()?;
        on!(conn, c => self.internal_load(c)?.collect())
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// Whatever the database refuses, a row that does not fit its type, and a deadline that has passed.
    fn one(self, conn: &mut Conn) -> QueryResult<Option<Row>> {
        late::check()?;
        on!(conn, c => self.internal_load(c)?.next().transpose())
    }
}

impl<'query, Row, Q> Fetch<'query, Row> for Q where
    Q: LoadQuery<'query, SqliteConnection, Row> + LoadQuery<'query, PgConnection, Row>
{
}
