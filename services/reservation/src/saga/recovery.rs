//! Sagas that nobody drives: their process died, their time is over, or they were put off.

use std::{sync::Arc, time::Duration};

use mesh::{
    crash_point,
    deadline::Deadline,
    store::{Micros, StoreError},
};
use tokio_util::sync::CancellationToken;

use super::Driver;
use crate::store::{
    self,
    sagas::{self, Saga},
};

/// A taken-over saga has this long to go forward: nobody waits for it any more.
pub(super) const RECOVERY_BUDGET: Duration = Duration::from_secs(5);
/// How often a process looks for sagas without a driver, how many it takes at a time, and how many at once.
const RECOVERY_PERIOD: Duration = Duration::from_millis(500);
const RECOVERY_BATCH: usize = 64;
const RECOVERY_MAX: usize = 256;

impl Driver {
    /// Takes over sagas whose lease ran out, until `shutdown`; then waits for those under way.
    pub(crate) async fn recover(self: Arc<Self>, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(RECOVERY_PERIOD)).await.is_some() {
            loop {
                match self.recover_some().await {
                    // Many at once, e.g. expiries of a popular day.
                    Ok(RECOVERY_BATCH) if !shutdown.is_cancelled() && self.flights().len() < RECOVERY_MAX => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "cannot look for sagas to recover");
                        break;
                    }
                }
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Answers how many were due.
    async fn recover_some(self: &Arc<Self>) -> Result<usize, StoreError> {
        let now = Micros::now();
        let limit = i64::try_from(RECOVERY_BATCH).unwrap_or(i64::MAX);
        let due = self.store.read(move |conn| Ok::<_, StoreError>(sagas::due(conn, now, limit)?)).await?;
        let count = due.len();
        for saga in due {
            let deadline = Deadline::after(RECOVERY_BUDGET);
            let lease = Self::lease(deadline, now);
            let seen = saga.clone();
            let taken = self
                .store
                .write(move |conn| {
                    let ours = sagas::take_over(conn, &seen, lease)?;
                    Ok::<_, StoreError>(if ours { store::find(conn, seen.reservation)? } else { None })
                })
                .await?;
            if let Some(reservation) = taken {
                crash_point!("reservation.takeover.committed");
                tracing::info!(reservation = %reservation.id, step = ?saga.step, takeover = saga.takeovers + 1, "taking over a saga");
                let saga = Saga { takeovers: saga.takeovers + 1, lease_until: lease, ..saga };
                drop(self.start(reservation, saga, deadline));
            }
        }
        Ok(count)
    }
}
