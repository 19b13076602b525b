//! The delivery workers, one for each channel: take due messages, hand them to the channel's notifier, and record what became of them.
//!
//! Taking, delivering and recording are three steps with no transaction open across them. A process that dies in between leaves the messages
//! taken; once the lease is over they are due again, so the outside may see a message twice but never misses one. Recording is one
//! transaction for the whole batch, with one event for each message that is settled.

use std::sync::Arc;
use std::time::Duration;

use mesh::crash_point;
use mesh::event::NewEvent;
use mesh::fault::Chain;
use mesh::outbox;
use mesh::store::{Conn, Id, Micros, Store, StoreError};
use proto::message::v1::{MessageFailed, MessageSent};
use tokio_util::sync::CancellationToken;

use crate::domain::{Channel, Message, Next, RetryPolicy, State};
use crate::notifier::{Notifier, Outcome};
use crate::{NAME, rpc, store};

/// Besides commits of this process, look this often: another replica may have left something behind.
const POLL: Duration = Duration::from_secs(1);
/// Added to the notifier's time limit, for the recording.
const LEASE_MARGIN: Duration = Duration::from_secs(20);
/// A message has one event in its life.
const VERSION: i64 = 1;

/// Delivers the messages of one channel.
pub(crate) struct Worker {
    pub(crate) store: Store,
    pub(crate) channel: Channel,
    pub(crate) notifier: Arc<dyn Notifier>,
    pub(crate) retry: RetryPolicy,
}

impl Worker {
    /// Delivers until `shutdown`, then finishes the batch it has.
    ///
    /// # Cancel safety
    /// A dropped worker leaves messages that are due again when their lease is over.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut commits = self.store.committed().subscribe();
        while !shutdown.is_cancelled() {
            let pause = match self.deliver_batch().await {
                Ok(0) => self.until_next().await,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(channel = ?self.channel, error = %Chain(&error), "messages cannot be delivered now");
                    POLL
                }
            };
            // Each arm may be dropped: a commit that was missed is reported by the next wait.
            tokio::select! {
                () = commits.changed() => {}
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// How long nothing is due, as far as can be told.
    async fn until_next(&self) -> Duration {
        let channel = self.channel;
        let next = self.store.read(move |conn| store::next_due(conn, channel).map_err(StoreError::from)).await;
        next.ok().flatten().map_or(POLL, |due| due.since(Micros::now()).min(POLL))
    }

    /// Delivers what is due, at most a batch; answers how many messages that were.
    async fn deliver_batch(&self) -> Result<usize, StoreError> {
        let (now, channel) = (Micros::now(), self.channel);
        let limit = i64::try_from(self.notifier.batch_size()).unwrap_or(i64::MAX);
        let due = self.store.read(move |conn| store::due(conn, channel, now, limit).map_err(StoreError::from)).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let until = now.plus(self.notifier.time_limit() + LEASE_MARGIN);
        let batch = self.store.write(move |conn| store::claim(conn, due, now, until).map_err(StoreError::from)).await?;
        crash_point!("message.claim.committed");
        let outcomes = self.notifier.deliver(&batch).await;
        crash_point!("message.delivered");
        debug_assert_eq!(outcomes.len(), batch.len());
        let count = batch.len();
        let settlement = Settlement::decide(batch, outcomes, self.retry, Micros::now());
        settlement.report();
        self.store.write(move |conn| settlement.commit(conn).map_err(StoreError::from)).await?;
        crash_point!("message.settlement.committed");
        Ok(count)
    }
}

/// What became of a batch.
struct Settlement {
    sent: Vec<Message>,
    postponed: Vec<(Message, Micros)>,
    failed: Vec<Message>,
    at: Micros,
    last_error: Option<String>,
}

impl Settlement {
    fn decide(batch: Vec<Message>, outcomes: Vec<Outcome>, retry: RetryPolicy, at: Micros) -> Self {
        let mut settlement = Self {
            sent: Vec::with_capacity(batch.len()),
            postponed: Vec::new(),
            failed: Vec::new(),
            at,
            last_error: None,
        };
        for (message, outcome) in batch.into_iter().zip(outcomes) {
            let Err(error) = outcome else {
                settlement.sent.push(Message { state: State::Sent, sent_at: Some(at), ..message });
                continue;
            };
            settlement.last_error = Some(Chain(&error).to_string());
            let next = match error.is_permanent() {
                true => Next::GiveUp,
                false => retry.after_failure(message.attempts, at, rand::random()),
            };
            match next {
                Next::Retry(until) => settlement.postponed.push((message, until)),
                Next::GiveUp => settlement.failed.push(Message { state: State::Failed, ..message }),
            }
        }
        settlement
    }

    fn report(&self) {
        if let Some(error) = &self.last_error {
            let (postponed, given_up) = (self.postponed.len(), self.failed.len());
            tracing::warn!(error, postponed, given_up, "messages were not delivered");
        }
    }

    /// Rows and events of the whole batch.
    fn commit(self, conn: &mut Conn) -> diesel::QueryResult<()> {
        let mut events = Vec::with_capacity(self.sent.len() + self.failed.len());
        if !self.sent.is_empty() {
            // A message somebody else settled meanwhile has its event already.
            let ids = self.sent.iter().map(|message| message.id).collect();
            let settled = store::mark_sent(conn, ids, self.at)?.into_iter().collect::<std::collections::HashSet<Id>>();
            let newly = self.sent.iter().filter(|message| settled.contains(&message.id));
            events.extend(
                newly.map(|message| event(&MessageSent { message: Some(rpc::to_wire(message)) }, message, self.at)),
            );
        }
        for (message, until) in &self.postponed {
            store::postpone(conn, message, *until)?;
        }
        for message in &self.failed {
            if store::mark_failed(conn, message)? {
                events.push(event(&MessageFailed { message: Some(rpc::to_wire(message)) }, message, self.at));
            }
        }
        outbox::push_all(conn, NAME, &events)?;
        crash_point!("message.settlement.uncommitted");
        Ok(())
    }
}

/// An effect of the event that the message tells of, and part of its trace.
fn event<E: proto::contract::Event>(event: &E, message: &Message, at: Micros) -> NewEvent {
    let event = NewEvent::of(event, Id::generate(), VERSION, &message.reservation.to_string(), Some(message.event), at);
    NewEvent { traceparent: message.traceparent.clone(), ..event }
}
