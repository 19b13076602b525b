//! What an audit of the whole system reads here, and the rules that the rows keep by themselves.

use diesel::QueryResult;
use mesh::store::{Conn, Id};

use crate::domain::{State, Voucher};
use crate::store;

/// A voucher, as far as an audit compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// What it is for.
    pub reservation: Id,
    /// Whether it is good.
    pub state: State,
}

/// The whole service in rows.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every voucher, oldest first. Tombstones are none.
    pub vouchers: Vec<Entry>,
    /// Rules of this service that its rows break; empty when all is well.
    pub violations: Vec<String>,
}

/// Reads everything. Takes memory and time in proportion to the rows.
///
/// # Errors
/// Whatever the database refuses.
pub fn read(conn: &mut Conn) -> QueryResult<Report> {
    let vouchers = store::all(conn)?;
    Ok(Report {
        violations: vouchers.iter().flat_map(violations).collect(),
        vouchers: vouchers
            .iter()
            .map(|voucher| Entry { reservation: voucher.reserved.reservation, state: voucher.state })
            .collect(),
    })
}

fn violations(voucher: &Voucher) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |holds: bool, rule: &str| {
        if !holds {
            found.push(format!("voucher {}: {rule}", voucher.id));
        }
    };
    check(voucher.number.is_well_formed(), "the ticket number is none");
    check((voucher.version == 1) == (voucher.state == State::Issued), "the version does not fit the state");
    check(voucher.created_at <= voucher.updated_at, "changed before it was issued");
    found
}
