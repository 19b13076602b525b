//! Databases as the first release left them, for tests of upgrades.

use diesel::Connection;
use diesel::connection::SimpleConnection;
use diesel::migration::MigrationSource;
use diesel::pg::PgConnection;
use diesel::sqlite::SqliteConnection;
use diesel_migrations::MigrationHarness;

use crate::store::{Conn, DatabaseUrl, MESH_MIGRATIONS, Migrations};

/// Makes the tables of a service's first release, and of this crate's, in a fresh database. The connection is for filling them; drop it before
/// the service opens the database, which upgrades it.
///
/// # Panics
/// When the database is not a fresh one.
#[must_use]
pub fn first_release(url: &DatabaseUrl, service: &str, migrations: Migrations) -> Conn {
    match url {
        DatabaseUrl::Sqlite(path) => {
            let mut conn = SqliteConnection::establish(path.to_str().expect("UTF-8")).expect("a file");
            apply_first(&mut conn, MESH_MIGRATIONS.sqlite);
            apply_first(&mut conn, migrations.sqlite);
            Conn::Sqlite(conn)
        }
        DatabaseUrl::Postgres(url) => {
            let mut conn = PgConnection::establish(url).expect("a server");
            conn.batch_execute(&format!("CREATE SCHEMA \"{service}\"; SET search_path TO \"{service}\""))
                .expect("a new schema");
            apply_first(&mut conn, MESH_MIGRATIONS.postgres);
            apply_first(&mut conn, migrations.postgres);
            Conn::Postgres(conn)
        }
    }
}

fn apply_first<C>(conn: &mut C, source: impl MigrationSource<C::Backend>)
where
    C: MigrationHarness<C::Backend> + Connection + 'static,
{
    conn.run_next_migration(source).expect("the first migration applies");
}
