//! The background check of the ledger: payments against their entries, and what moved lately against the provider's own books.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mesh::reconcile::{CheckError, Difference, Ledger, Part};
use mesh::store::{Id, Micros, Store};
use mesh::value::Currency;

use crate::ledger::{self, Balance};
use crate::provider::{ChargeKey, Provider, ProviderError};

/// Payments of each kind in one part: new ones, moved ones, and those of the sweep over all.
const PAGE: i64 = 200;
/// Rows are numbered before they are committed: younger ones may have older ones still to come.
const LAG: Duration = Duration::from_secs(5);
/// How far back the first part looks; what is older is the sweep's.
const RECENT: Duration = Duration::from_hours(1);
const FIRST: Id = Id::from_bytes([0; 16]);
const LAST: Id = Id::from_bytes([0xff; 16]);

/// Where the check has come to.
pub(crate) struct Reconciliation {
    store: Store,
    provider: Arc<dyn Provider>,
    cursors: Option<Cursors>,
}

#[derive(Clone, Copy)]
struct Cursors {
    /// The newest payment that was looked at as a new one.
    made: Id,
    /// The newest entry that was looked at.
    moved: i64,
    /// The last payment that the sweep came to; it begins again after the last of all.
    swept: Id,
}

/// What one part is about.
struct Page {
    recent: Vec<Balance>,
    swept: Vec<Balance>,
    next: Cursors,
    more: bool,
}

impl Reconciliation {
    pub(crate) fn new(store: Store, provider: Arc<dyn Provider>) -> Self {
        Self { store, provider, cursors: None }
    }

    async fn next_page(&self) -> Result<Page, CheckError> {
        let (cursors, now) = (self.cursors, Micros::now());
        self.store
            .read(move |conn| {
                let cursors = match cursors {
                    Some(cursors) => cursors,
                    None => Cursors {
                        made: Id::floor(now.minus(RECENT)),
                        moved: ledger::last_move(conn)?.saturating_sub(PAGE),
                        swept: FIRST,
                    },
                };
                let horizon = now.minus(LAG);
                let made = ledger::balances(conn, cursors.made, Id::floor(horizon), PAGE)?;
                let moves = ledger::moves(conn, cursors.moved, horizon, PAGE)?;
                let swept = ledger::balances(conn, cursors.swept, LAST, PAGE)?;
                let next = Cursors {
                    made: made.last().map_or(cursors.made, |balance| balance.payment),
                    moved: moves.last().map_or(cursors.moved, |(seq, _)| *seq),
                    swept: if is_full(&swept) { swept[swept.len() - 1].payment } else { FIRST },
                };
                let more = is_full(&made) || is_full(&moves);
                let mut recent: BTreeMap<Id, Balance> =
                    made.into_iter().map(|balance| (balance.payment, balance)).collect();
                for (_, payment) in moves {
                    if !recent.contains_key(&payment)
                        && let Some(balance) = ledger::balance(conn, payment)?
                    {
                        recent.insert(payment, balance);
                    }
                }
                Ok::<_, CheckError>(Page { recent: recent.into_values().collect(), swept, next, more })
            })
            .await
    }

    /// The provider is asked after the row was read, so a difference counts only if the row is still the same.
    async fn compare(&self, balance: &Balance) -> Result<Option<Difference>, CheckError> {
        if !balance.is_settled() {
            return Ok(None);
        }
        let kept = self.kept(balance).await.map_err(|error| CheckError::Other(error.into()))?;
        let Some(what) = kept.and_then(|kept| balance.difference_from(kept)) else { return Ok(None) };
        let payment = balance.payment;
        let now = self.store.read(move |conn| Ok::<_, CheckError>(ledger::balance(conn, payment)?)).await?;
        Ok((now.as_ref() == Some(balance)).then_some(Difference { rule: "provider", what }))
    }

    /// Over all attempts, of which one at most may have taken something.
    async fn kept(&self, balance: &Balance) -> Result<Option<i64>, ProviderError> {
        let Some(currency) = Currency::from_code(&balance.currency) else { return Ok(None) };
        let mut sum = Some(0);
        for attempt in 1..=balance.attempt {
            let key = ChargeKey { payment: balance.payment, attempt };
            let reference = balance.reference().filter(|_| attempt == balance.attempt);
            let kept = self.provider.kept(key, currency, reference).await?;
            // An earlier attempt that cannot be told of was declined, and took nothing.
            sum = match kept {
                None if attempt < balance.attempt => sum,
                kept => sum.zip(kept).map(|(sum, kept)| sum + kept),
            };
        }
        Ok(sum)
    }
}

fn is_full<T>(rows: &[T]) -> bool {
    i64::try_from(rows.len()).is_ok_and(|rows| rows >= PAGE)
}

impl Ledger for Reconciliation {
    async fn check(&mut self) -> Result<Part, CheckError> {
        let Page { recent, swept, next, more } = self.next_page().await?;
        let all = || recent.iter().chain(&swept);
        let entries = |what| Difference { rule: "entries", what };
        let mut differences: Vec<_> = all().filter_map(Balance::difference).map(entries).collect();
        for balance in &recent {
            differences.extend(self.compare(balance).await?);
        }
        self.cursors = Some(next);
        Ok(Part { checked: all().count() as u64, differences, more })
    }
}
