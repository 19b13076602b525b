//! A provider for development and tests that behaves like a real one: it keeps its own books, forgets nothing when it is killed, and fails
//! on request.
//!
//! The payment method decides what happens:
//!
//! | method | outcome |
//! |---|---|
//! | `pm_card_visa` | approved |
//! | `pm_card_chargeDeclined` | declined, `generic_decline` |
//! | `pm_card_chargeDeclinedInsufficientFunds` | declined, `insufficient_funds` |
//! | `pm_sim_slow` | approved at once, but the answer takes two seconds |
//! | `pm_sim_lost_answer` | approved, but the first answer never arrives; asking again tells |
//! | `pm_sim_unavailable` | the provider is down for it |
//! | any other | no such method |
//!
//! It can add a random latency, uniform between nothing and a maximum, that is the same in every run with the same seed. It moves no money, and shows nothing about a real
//! provider's network, rules or error formats; the [`stripe`](super::stripe) adapter is for that.

mod ledger;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mesh::value::Currency;

use self::ledger::Taken;
pub use self::ledger::{Entry, EntryKind, Ledger, LedgerError};
use super::{Charge, ChargeKey, Outcome, Provider, ProviderError};

/// How late the answer to `pm_sim_slow` is.
pub const SLOW: Duration = Duration::from_secs(2);

/// How the simulator behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its books.
    pub ledger: PathBuf,
    /// Each call takes between nothing and this long.
    pub max_latency: Duration,
    /// The n-th call of two runs with the same seed takes equally long.
    pub seed: u64,
}

/// The simulated provider.
#[derive(Debug)]
pub struct Simulator {
    ledger: Ledger,
    max_latency: Duration,
    seed: u64,
    calls: AtomicU64,
}

impl Simulator {
    /// Opens the books.
    ///
    /// # Errors
    /// When the file cannot be opened or is not a ledger.
    pub fn open(settings: &Settings) -> Result<Self, LedgerError> {
        let ledger = Ledger::open(&settings.ledger)?;
        Ok(Self { ledger, max_latency: settings.max_latency, seed: settings.seed, calls: AtomicU64::new(0) })
    }

    async fn delay(&self) {
        if self.max_latency.is_zero() {
            return;
        }
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(latency(self.seed, call, self.max_latency)).await;
    }

    async fn take(&self, charge: &Charge) -> Result<Outcome, ProviderError> {
        self.delay().await;
        match charge.method.token() {
            "pm_card_visa" | "pm_sim_slow" | "pm_sim_lost_answer" => {}
            "pm_card_chargeDeclined" => return Ok(declined("generic_decline")),
            "pm_card_chargeDeclinedInsufficientFunds" => return Ok(declined("insufficient_funds")),
            "pm_sim_unavailable" => return Err(ProviderError::Unavailable("out of order, as asked".to_owned())),
            _ => return Ok(Outcome::UnknownMethod),
        }
        let taken = self.ledger.charge(charge).map_err(unavailable)?;
        match (charge.method.token(), taken) {
            (_, Taken::Voided) => Ok(declined("voided")),
            ("pm_sim_lost_answer", Taken::Now { .. }) => {
                Err(ProviderError::OutcomeUnknown("lost, as asked".to_owned()))
            }
            ("pm_sim_slow", Taken::Now { reference }) => {
                tokio::time::sleep(SLOW).await;
                Ok(Outcome::Approved { reference })
            }
            (_, Taken::Now { reference } | Taken::Before { reference }) => Ok(Outcome::Approved { reference }),
        }
    }
}

impl Provider for Simulator {
    fn charge<'a>(&'a self, charge: &'a Charge) -> BoxFuture<'a, Result<Outcome, ProviderError>> {
        self.take(charge).boxed()
    }

    fn undo<'a>(&'a self, charge: &'a Charge, _reference: Option<&'a str>) -> BoxFuture<'a, Result<(), ProviderError>> {
        async {
            self.delay().await;
            if charge.method.token() == "pm_sim_unavailable" {
                return Err(ProviderError::Unavailable("out of order, as asked".to_owned()));
            }
            self.ledger.undo(charge).map_err(unavailable)
        }
        .boxed()
    }

    fn kept<'a>(
        &'a self,
        key: ChargeKey,
        _currency: Currency,
        _reference: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<i64>, ProviderError>> {
        std::future::ready(self.ledger.kept(key).map(Some).map_err(unavailable)).boxed()
    }
}

fn declined(code: &str) -> Outcome {
    Outcome::Declined { code: code.to_owned() }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unavailable(error: LedgerError) -> ProviderError {
    ProviderError::Unavailable(error.to_string())
}

/// Of the n-th call: between nothing and `max`.
fn latency(seed: u64, n: u64, max: Duration) -> Duration {
    let range = u64::try_from(max.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
    Duration::from_micros(mix(seed, n) % range)
}

/// The n-th number of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014), which can be had out of order.
fn mix(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_spread_over_the_range_and_repeat_with_the_seed() {
        // T11: a random 0–1000 ms (D32, M15) that another run can repeat.
        let second = Duration::from_secs(1);
        let run = |seed| (0..10_000).map(|n| latency(seed, n, second)).collect::<Vec<_>>();
        let latencies = run(7);
        assert_eq!((&latencies, latencies == run(8)), (&run(7), false));
        assert!(latencies.iter().all(|latency| *latency <= second));
        let fast = latencies.iter().filter(|latency| latency.as_millis() < 300).count();
        assert!((2_800..3_200).contains(&fast), "{fast} of 10,000 take less than 300 ms");
    }

    #[test]
    fn random_numbers_are_those_of_the_published_algorithm() {
        // The reference implementation's first outputs for the seed 1234567.
        assert_eq!([mix(1_234_567, 0), mix(1_234_567, 1)], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }
}
