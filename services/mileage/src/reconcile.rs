//! The background check of the ledger: accounts against entries.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh::reconcile::{CheckError, Ledger, Part};
use mesh::store::{Id, Micros, Store};

use crate::ledger;

/// Entries, and customers of the sweep over all, in one part.
const PAGE: i64 = 200;
/// Entries are named before they are committed: younger ones may have older ones still to come.
const LAG: Duration = Duration::from_secs(5);
/// How far back the first part looks; what is older is the sweep's.
const RECENT: Duration = Duration::from_hours(1);

/// Where the check has come to.
pub(crate) struct Reconciliation {
    store: Store,
    /// The newest entry that was looked at.
    entry: Id,
    /// The last customer that the sweep came to; it begins again after the last of all.
    swept: String,
}

impl Reconciliation {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, entry: Id::floor(Micros::now().minus(RECENT)), swept: String::new() }
    }
}

impl Ledger for Reconciliation {
    async fn check(&mut self) -> Result<Part, CheckError> {
        let (entry, swept) = (self.entry, self.swept.clone());
        let read = self.store.read(move |conn| {
            let recent = ledger::recent(conn, entry, Id::floor(Micros::now().minus(LAG)), PAGE)?;
            let page = ledger::customers(conn, &swept, PAGE)?;
            let next_entry = recent.last().map_or(entry, |(id, _)| *id);
            let next_swept = if is_full(&page) { page.last().cloned() } else { None }.unwrap_or_default();
            let mut part = Part { more: is_full(&recent), ..Part::default() };
            let moved: BTreeSet<String> = recent.into_iter().map(|(_, customer)| customer).collect();
            part.checked = (moved.len() + page.len()) as u64;
            for customer in &moved {
                part.differences.extend(ledger::differences(conn, customer, customer)?);
            }
            if let (Some(first), Some(last)) = (page.first(), page.last()) {
                part.differences.extend(ledger::differences(conn, first, last)?);
            }
            Ok::<_, CheckError>((part, next_entry, next_swept))
        });
        let (part, entry, swept) = read.await?;
        (self.entry, self.swept) = (entry, swept);
        Ok(part)
    }
}

fn is_full<T>(rows: &[T]) -> bool {
    i64::try_from(rows.len()).is_ok_and(|rows| rows >= PAGE)
}
