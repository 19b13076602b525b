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

/// The session's own limit in milliseconds, as connections are opened with; it holds for what has no deadline.
pub(super) const SESSION_LIMIT_MS: u64 = 30_000;

/// For a read, which has no transaction: no statement may outlast the deadline by more than the time that was left, at least not on PostgreSQL.
/// `current` is the session's limit. It is changed only for a deadline of another magnitude, which spares nearly every read a round trip.
pub(super) fn limit_read(conn: &mut Conn, deadline: Option<Deadline>, current: &mut u64) -> QueryResult<()> {
    let Conn::Postgres(c) = conn else { return Ok(()) };
    let wanted = deadline.map_or(SESSION_LIMIT_MS, |deadline| magnitude_ms(deadline.remaining()));
    if wanted != *current {
        c.batch_execute(&format!("SET statement_timeout = {wanted}"))?;
        *current = wanted;
    }
    Ok(())
}

/// The next power of two, up to the session's limit.
fn magnitude_ms(left: Duration) -> u64 {
    u64::try_from(limit_ms(left)).map_or(SESSION_LIMIT_MS, |left| left.next_power_of_two().min(SESSION_LIMIT_MS))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_s_limit_is_at_least_what_is_left_and_less_than_twice_that() {
        let check = |left_ms, expected| assert_eq!(magnitude_ms(Duration::from_millis(left_ms)), expected, "{left_ms}");
        check(0, 1);
        check(1, 2);
        check(50, 64);
        check(4_990, 8_192);
        check(16_384, 30_000);
        check(u64::MAX, 30_000);
    }
}
