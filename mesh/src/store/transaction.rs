//! Transactions and savepoints on either database.

use std::time::Duration;

use diesel::QueryResult;
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};

use super::Conn;
use crate::deadline::Deadline;
use crate::on;

/// Opens the outermost transaction. On PostgreSQL no statement in it may then outlast the deadline; the limits travel in the same message
/// as BEGIN. An SQLite statement cannot be stopped, so there the deadline is only checked between statements.
pub(super) fn begin(conn: &mut Conn, deadline: Option<Deadline>) -> QueryResult<()> {
    match (conn, deadline) {
        (Conn::Sqlite(c), _) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE"),
        (Conn::Postgres(c), None) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN"),
        (Conn::Postgres(c), Some(deadline)) => {
            let left_ms = limit_ms(deadline.remaining());
            let sql = format!("BEGIN; SET LOCAL statement_timeout = {left_ms}; SET LOCAL lock_timeout = {left_ms}");
            AnsiTransactionManager::begin_transaction_sql(c, &sql)
        }
    }
}

/// Rounded up, so that a statement stopped by the limit is always past its deadline; zero would mean no limit.
fn limit_ms(left: Duration) -> u128 {
    left.as_millis() + 1
}

/// Opens a savepoint inside the transaction.
pub(super) fn savepoint(conn: &mut Conn) -> QueryResult<()> {
    on!(conn, c => AnsiTransactionManager::begin_transaction(c))
}

/// Commits the transaction, or releases the innermost savepoint.
pub(super) fn commit(conn: &mut Conn) -> QueryResult<()> {
    on!(conn, c => AnsiTransactionManager::commit_transaction(c))
}

/// Undoes the transaction, or everything since the innermost savepoint.
pub(super) fn rollback(conn: &mut Conn) -> QueryResult<()> {
    on!(conn, c => AnsiTransactionManager::rollback_transaction(c))
}

/// Whether the connection answers and has no transaction left open.
pub(super) fn is_usable(conn: &mut Conn) -> bool {
    on!(conn, c => !AnsiTransactionManager::is_broken_transaction_manager(c) && c.batch_execute("SELECT 1").is_ok())
}
