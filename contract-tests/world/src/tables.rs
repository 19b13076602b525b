//! A service's database, looked at and tampered with beside the service.

use diesel::{
    Connection, QueryableByName, RunQueryDsl, connection::SimpleConnection, pg::PgConnection, sql_query,
    sql_types::BigInt, sqlite::SqliteConnection,
};
use mesh::store::DatabaseUrl;

/// Each statement has a connection of its own.
pub struct Tables {
    url: DatabaseUrl,
    service: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

impl Tables {
    pub(crate) fn new(url: &DatabaseUrl, service: &str) -> Self {
        Self { url: url.clone(), service: service.to_owned() }
    }

    /// Runs a statement.
    pub fn execute(&self, sql: &str) {
        match &self.url {
            DatabaseUrl::Sqlite(_) => self.sqlite().batch_execute(sql),
            DatabaseUrl::Postgres(url) => self.postgres(url).batch_execute(sql),
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// What `SELECT COUNT(*) FROM …` answers.
    pub fn count(&self, from: &str) -> i64 {
        let query = sql_query(format!("SELECT CAST(COUNT(*) AS BIGINT) AS count FROM {from}"));
        let counted: Result<Count, _> = match &self.url {
            DatabaseUrl::Sqlite(_) => query.get_result(&mut self.sqlite()),
            DatabaseUrl::Postgres(url) => query.get_result(&mut self.postgres(url)),
        };
        counted.unwrap_or_else(|error| panic!("{from}: {error}")).count
    }

    fn sqlite(&self) -> SqliteConnection {
        let DatabaseUrl::Sqlite(path) = &self.url else { unreachable!("asked only of an SQLite file") };
        let mut conn = SqliteConnection::establish(path.to_str().expect("UTF-8")).expect("the file opens");
        conn.batch_execute("PRAGMA busy_timeout = 30000").expect("a setting");
        conn
    }

    fn postgres(&self, url: &str) -> PgConnection {
        let mut conn = PgConnection::establish(url).expect("the server answers");
        conn.batch_execute(&format!("SET search_path TO \"{}\"", self.service)).expect("a setting");
        conn
    }
}
