//! The rows: inserting, claiming for delivery, settling what became of it, and reading.
//!
//! `due_at` is both the schedule and the lease: a claim moves it past the longest possible delivery, so a message whose deliverer died is
//! due again by itself, and of two replicas that want the same message the conditional update lets one have it.

use std::collections::{BTreeMap, HashMap};

use diesel::prelude::{ExpressionMethods, Insertable, QueryDsl, QueryResult, Queryable};
use diesel::result::Error;
use mesh::store::{Bind, Conn, Exec, Fetch, Id, Micros, upsert};
use mesh::value::Page;

use crate::domain::{Channel, Language, Message, State, Topic};
use crate::schema::languages::dsl as l;
use crate::schema::messages::{self, dsl as m};

#[derive(Insertable, Queryable)]
#[diesel(table_name = messages, treat_none_as_default_value = false)]
struct Row {
    id: Id,
    event_id: Id,
    recipient: String,
    reservation: Id,
    topic: i16,
    body: String,
    state: i16,
    attempts: i32,
    due_at: Option<Micros>,
    created_at: Micros,
    sent_at: Option<Micros>,
    channel: i16,
    language: String,
    traceparent: Option<String>,
}

/// Stores new messages, due at once; those already there stay as they are. Answers how many were new.
///
/// # Errors
/// Whatever the database refuses.
pub(crate) fn insert(conn: &mut Conn, new: Vec<Message>) -> QueryResult<usize> {
    let rows: Vec<Row> = new.into_iter().map(Row::pending).collect();
    match conn {
        // No round trips to save, and one row's statement is prepared once for all: less work than reading the text of a long one.
        Conn::Sqlite(_) => rows.iter().try_fold(0, |new, row| {
            Ok(new + diesel::insert_into(m::messages).values(row).on_conflict_do_nothing().exec(conn)?)
        }),
        Conn::Postgres(_) => diesel::insert_into(m::messages).values(&rows).on_conflict_do_nothing().exec(conn),
    }
}

/// The languages that users chose last, as far as they chose any.
///
/// # Errors
/// Whatever the database refuses.
pub(crate) fn languages(conn: &mut Conn, of: Vec<&str>) -> QueryResult<HashMap<String, Language>> {
    let rows: Vec<(String, String)> = l::languages.filter(l::recipient.eq_any(of)).all(conn)?;
    rows.into_iter().map(|(recipient, code)| Ok((recipient, language(&code)?))).collect()
}

/// Remembers the languages that users chose. The order of the map keeps two replicas from waiting for each other.
///
/// # Errors
/// Whatever the database refuses.
pub(crate) fn remember(conn: &mut Conn, chosen: &BTreeMap<&str, Language>) -> QueryResult<()> {
    if chosen.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> =
        chosen.iter().map(|(recipient, language)| [Bind::from(*recipient), Bind::from(language.code())]).collect();
    upsert(
        conn,
        "INSERT INTO languages (recipient, language)",
        &rows,
        "ON CONFLICT (recipient) DO UPDATE SET language = excluded.language WHERE languages.language <> excluded.language",
    )
}

/// The messages of a channel that are due longest, at most `limit`; nobody has them yet.
///
/// # Errors
/// Whatever the database refuses.
pub(crate) fn due(conn: &mut Conn, channel: Channel, now: Micros, limit: i64) -> QueryResult<Vec<Id>> {
    let of_channel = m::messages.filter(m::channel.eq(channel_number(channel)));
    of_channel.filter(m::due_at.le(now)).order(m::due_at).limit(limit).select(m::id).all(conn)
}

/// When the next message of a channel will be due.
///
/// # Errors
/// Whatever the database refuses.
pub(crate) fn next_due(conn: &mut Conn, channel: Channel) -> QueryResult<Option<Micros>> {
    let of_channel = m::messages.filter(m::channel.eq(channel_number(channel)));
    let next: Option<Option<Micros>> =
        of_channel.filter(m::due_at.is_not_null()).order(m::due_at).limit(1).select(m::due_at).one(conn)?;
    Ok(next.flatten())
}

/// Takes those of the messages that are still due, until `until`, and counts the try. Answers them in the order they were written in.
///
/// # Errors
/// Whatever the database refuses.
pub(crate) fn claim(conn: &mut Conn, ids: Vec<Id>, now: Micros, until: Micros) -> QueryResult<Vec<Message>> {
    let due = m::messages.filter(m::id.eq_any(ids)).filter(m::due_at.le(now));
    let taken = diesel::update(due).set((m::due_at.eq(until), m::attempts.eq(m::attempts + 1)));
    let mut rows: Vec<Row> = taken.returning(messages::all_columns).all(conn)?;
    rows.sort_by_key(|row| row.created_at);
    rows.into_iter().map(Row::message).collect()
}

/// Marks messages as delivered; answers those that were not settled before.
///
/// # Errors
/// Whatever the database refuses.
pub(crate) fn mark_sent(conn: &mut Conn, ids: Vec<Id>, now: Micros) -> QueryResult<Vec<Id>> {
    let waiting = m::messages.filter(m::id.eq_any(ids)).filter(m::state.eq(PENDING));
    diesel::update(waiting)
        .set((m::state.eq(SENT), m::sent_at.eq(now), m::due_at.eq(None::<Micros>)))
        .returning(m::id)
        .all(conn)
}

/// Schedules the next try of a message, unless somebody else has taken it over since.
///
/// # Errors
/// Whatever the database refuses.
pub(crate) fn postpone(conn: &mut Conn, message: &Message, until: Micros) -> QueryResult<()> {
    let own =
        m::messages.filter(m::id.eq(message.id)).filter(m::state.eq(PENDING)).filter(m::attempts.eq(message.attempts));
    diesel::update(own).set(m::due_at.eq(until)).exec(conn).map(|_| ())
}

/// Gives a message up; `false` if somebody else has taken it over or settled it since.
///
/// # Errors
/// Whatever the database refuses.
pub(crate) fn mark_failed(conn: &mut Conn, message: &Message) -> QueryResult<bool> {
    let own =
        m::messages.filter(m::id.eq(message.id)).filter(m::state.eq(PENDING)).filter(m::attempts.eq(message.attempts));
    Ok(diesel::update(own).set((m::state.eq(FAILED), m::due_at.eq(None::<Micros>))).exec(conn)? == 1)
}

/// One message.
///
/// # Errors
/// Whatever the database refuses.
pub(crate) fn find(conn: &mut Conn, id: Id) -> QueryResult<Option<Message>> {
    let row: Option<Row> = m::messages.find(id).one(conn)?;
    row.map(Row::message).transpose()
}

/// A page of the messages to `recipient`, or to all, about `reservation`, or about all; newest first.
///
/// # Errors
/// Whatever the database refuses.
pub(crate) fn list(
    conn: &mut Conn,
    recipient: Option<&str>,
    reservation: Option<Id>,
    page: &Page,
) -> QueryResult<Vec<Message>> {
    let before = page.before().unwrap_or(END);
    let rows = m::messages.filter(m::id.lt(before)).order(m::id.desc()).limit(page.limit());
    let rows: Vec<Row> = match (recipient, reservation) {
        (None, None) => rows.all(conn)?,
        (Some(recipient), None) => rows.filter(m::recipient.eq(recipient)).all(conn)?,
        (None, Some(reservation)) => rows.filter(m::reservation.eq(reservation)).all(conn)?,
        (Some(recipient), Some(reservation)) => {
            rows.filter(m::reservation.eq(reservation)).filter(m::recipient.eq(recipient)).all(conn)?
        }
    };
    rows.into_iter().map(Row::message).collect()
}

/// Every message, oldest first, for the audit.
///
/// # Errors
/// Whatever the database refuses.
pub(crate) fn all(conn: &mut Conn) -> QueryResult<Vec<Message>> {
    let rows: Vec<Row> = m::messages.order(m::id).all(conn)?;
    rows.into_iter().map(Row::message).collect()
}

/// Behind every identifier.
const END: Id = Id::from_bytes([0xff; 16]);

const PENDING: i16 = 1;
const SENT: i16 = 2;
const FAILED: i16 = 3;

/// The numbers of the contract's enums, so that rows and messages on the wire read alike.
fn state_number(state: State) -> i16 {
    match state {
        State::Pending => PENDING,
        State::Sent => SENT,
        State::Failed => FAILED,
    }
}

fn topic_number(topic: Topic) -> i16 {
    match topic {
        Topic::ReservationConfirmed => 1,
        Topic::ReservationCancelled => 2,
        Topic::MileageIncreased => 3,
        Topic::MileageDecreased => 4,
        Topic::ReservationRequested => 5,
        Topic::ReservationApproved => 6,
        Topic::ReservationRejected => 7,
        Topic::ReservationForceCancelled => 8,
        Topic::ReservationExpired => 9,
        Topic::ReservationCompleted => 10,
    }
}

fn topic(number: i16) -> QueryResult<Topic> {
    Ok(match number {
        1 => Topic::ReservationConfirmed,
        2 => Topic::ReservationCancelled,
        3 => Topic::MileageIncreased,
        4 => Topic::MileageDecreased,
        5 => Topic::ReservationRequested,
        6 => Topic::ReservationApproved,
        7 => Topic::ReservationRejected,
        8 => Topic::ReservationForceCancelled,
        9 => Topic::ReservationExpired,
        10 => Topic::ReservationCompleted,
        other => return Err(unknown("topic", other)),
    })
}

fn channel_number(channel: Channel) -> i16 {
    match channel {
        Channel::Message => 1,
        Channel::Sms => 2,
        Channel::Alarm => 3,
    }
}

fn channel(number: i16) -> QueryResult<Channel> {
    Ok(match number {
        1 => Channel::Message,
        2 => Channel::Sms,
        3 => Channel::Alarm,
        other => return Err(unknown("channel", other)),
    })
}

fn language(code: &str) -> QueryResult<Language> {
    Language::from_code(code).ok_or_else(|| unknown("language", code))
}

fn unknown(what: &str, value: impl std::fmt::Display) -> Error {
    Error::DeserializationError(format!("{value} is no {what} of a message").into())
}

impl Row {
    fn pending(message: Message) -> Self {
        Self {
            id: message.id,
            event_id: message.event,
            recipient: message.recipient,
            reservation: message.reservation,
            topic: topic_number(message.topic),
            body: message.body,
            state: state_number(message.state),
            attempts: message.attempts,
            due_at: Some(message.created_at),
            created_at: message.created_at,
            sent_at: message.sent_at,
            channel: channel_number(message.channel),
            language: message.language.code().to_owned(),
            traceparent: message.traceparent,
        }
    }

    fn message(self) -> QueryResult<Message> {
        let state = match self.state {
            PENDING => State::Pending,
            SENT => State::Sent,
            FAILED => State::Failed,
            other => return Err(unknown("state", other)),
        };
        Ok(Message {
            id: self.id,
            event: self.event_id,
            recipient: self.recipient,
            reservation: self.reservation,
            topic: topic(self.topic)?,
            channel: channel(self.channel)?,
            language: language(&self.language)?,
            body: self.body,
            state,
            attempts: self.attempts,
            created_at: self.created_at,
            sent_at: self.sent_at,
            traceparent: self.traceparent,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mesh::store::{Store, StoreError};
    use mesh::testing::{database, first_release};

    use super::*;
    use crate::domain::message_id;

    fn message(channel: Channel, at: Micros) -> Message {
        let (event, recipient) = (Id::generate(), "users/alice".to_owned());
        Message {
            id: message_id(event, &recipient, channel),
            event,
            recipient,
            reservation: Id::generate(),
            topic: Topic::ReservationConfirmed,
            channel,
            language: Language::Korean,
            body: "예약이 확정되었습니다.".to_owned(),
            state: State::Pending,
            attempts: 0,
            created_at: at,
            sent_at: None,
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        }
    }

    async fn write<T: Send + 'static>(
        store: &Store,
        work: impl FnOnce(&mut Conn) -> QueryResult<T> + Send + 'static,
    ) -> T {
        store.write(move |conn| work(conn).map_err(StoreError::from)).await.expect("written")
    }

    /// A deliverer that dies loses its claim with the lease; one that is only late finds its failure overruled, but not its success.
    #[tokio::test]
    async fn a_claim_lasts_as_long_as_its_lease() {
        let (_dir, url) = database();
        let store = Store::open(&url, "message", crate::MIGRATIONS).expect("a fresh database");
        let [start, soon, late, later] = [0, 1, 60, 120].map(|second| Micros(0).plus(Duration::from_secs(second)));
        let told = message(Channel::Message, start);
        let id = told.id;
        let steps = move |conn: &mut Conn| -> QueryResult<()> {
            assert_eq!(insert(conn, vec![told.clone(), message(Channel::Message, later)])?, 2);
            assert_eq!(insert(conn, vec![told.clone()])?, 0, "a repeat adds nothing (K10)");
            assert_eq!(due(conn, Channel::Message, soon, 10)?, [id]);
            let first = claim(conn, vec![id], soon, late)?;
            assert_eq!(first, [Message { attempts: 1, ..told.clone() }]);
            assert_eq!(claim(conn, vec![id], soon, late)?, [], "one claim at a time");
            assert_eq!(
                (due(conn, Channel::Message, soon, 10)?, next_due(conn, Channel::Message)?),
                (vec![], Some(late))
            );
            assert_eq!(due(conn, Channel::Message, late, 10)?, [id], "due again once the lease is over");
            assert_eq!(claim(conn, vec![id], late, later)?[0].attempts, 2);
            assert!(!mark_failed(conn, &first[0])?, "the first deliverer's failure comes too late");
            postpone(conn, &first[0], soon)?;
            assert_eq!(due(conn, Channel::Message, soon, 10)?, []);
            assert_eq!(mark_sent(conn, vec![id], late)?, [id]);
            assert_eq!(mark_sent(conn, vec![id], late)?, [], "settled once");
            assert_eq!(due(conn, Channel::Message, later, 10)?.len(), 1, "what is settled is never due");
            Ok(())
        };
        write(&store, steps).await;
    }

    /// A channel whose outside is down holds up no other.
    #[tokio::test]
    async fn each_channel_is_due_by_itself() {
        let (_dir, url) = database();
        let store = Store::open(&url, "message", crate::MIGRATIONS).expect("a fresh database");
        let [now, later] = [Micros(1), Micros(2)];
        let (told, sms) = (message(Channel::Message, now), message(Channel::Sms, later));
        let ids = (told.id, sms.id);
        let steps = move |conn: &mut Conn| -> QueryResult<()> {
            insert(conn, vec![told, sms])?;
            assert_eq!(due(conn, Channel::Message, later, 10)?, [ids.0]);
            assert_eq!(due(conn, Channel::Sms, later, 10)?, [ids.1]);
            assert_eq!(due(conn, Channel::Sms, now, 10)?, []);
            assert_eq!(next_due(conn, Channel::Sms)?, Some(later));
            assert_eq!((due(conn, Channel::Alarm, later, 10)?, next_due(conn, Channel::Alarm)?), (vec![], None));
            Ok(())
        };
        write(&store, steps).await;
    }

    #[tokio::test]
    async fn the_language_chosen_last_holds() {
        let (_dir, url) = database();
        let store = Store::open(&url, "message", crate::MIGRATIONS).expect("a fresh database");
        let steps = |conn: &mut Conn| -> QueryResult<()> {
            remember(conn, &BTreeMap::new())?;
            remember(conn, &BTreeMap::from([("users/a", Language::Korean), ("users/b", Language::English)]))?;
            remember(conn, &BTreeMap::from([("users/a", Language::Korean), ("users/b", Language::Korean)]))?;
            let expected = ["users/a", "users/b"].map(|user| (user.to_owned(), Language::Korean));
            assert_eq!(languages(conn, vec!["users/a", "users/b", "users/c"])?, expected.into());
            remember(conn, &BTreeMap::from([("users/a", Language::English)]))?;
            assert_eq!(languages(conn, vec!["users/a"])?["users/a"], Language::English);
            assert_eq!(languages(conn, Vec::new())?.len(), 0);
            Ok(())
        };
        write(&store, steps).await;
    }

    /// A message of before there were channels.
    #[tokio::test]
    async fn messages_of_before_the_channels_stay() {
        let (_dir, url) = database();
        let told = message(Channel::Message, Micros(7));
        let id = told.id;
        let old = (
            (m::id.eq(id), m::event_id.eq(told.event), m::recipient.eq(told.recipient)),
            (m::reservation.eq(told.reservation), m::topic.eq(1_i16), m::body.eq("Your stay.")),
            (m::state.eq(PENDING), m::attempts.eq(0), m::due_at.eq(told.created_at), m::created_at.eq(told.created_at)),
        );
        let first = &mut first_release(&url, crate::NAME, crate::MIGRATIONS);
        diesel::insert_into(m::messages).values(old).exec(first).expect("a row of the first release");

        let store = Store::open(&url, crate::NAME, crate::MIGRATIONS).expect("the upgrade");
        let found = write(&store, move |conn| Ok((find(conn, id)?, due(conn, Channel::Message, Micros(7), 10)?))).await;
        let (upgraded, due) = (found.0.expect("still there"), found.1);
        assert_eq!(due, [id], "delivered after the upgrade");
        assert_eq!((upgraded.channel, upgraded.language), (Channel::Message, Language::English));
        assert_eq!((upgraded.traceparent, upgraded.body.as_str()), (None, "Your stay."));
    }

    /// A63: deliverers that claim the same messages at the same moment, on connections of their own, share them out.
    #[tokio::test(flavor = "multi_thread")]
    async fn claims_at_once_take_each_message_once() {
        let (_dir, url) = database();
        let store = Store::open(&url, "message", crate::MIGRATIONS).expect("a fresh database");
        let (now, until) = (Micros(0), Micros(1));
        let messages: Vec<_> = (0..500).map(|_| message(Channel::Message, now)).collect();
        let ids: Vec<_> = messages.iter().map(|message| message.id).collect();
        store.write(|conn| insert(conn, messages).map_err(StoreError::from)).await.expect("stored");
        let mut claims = tokio::task::JoinSet::new();
        for start in 0..16 {
            let (store, mut ids) = (store.clone(), ids.clone());
            ids.rotate_left(start * 31);
            claims.spawn(async move {
                let mut taken = Vec::new();
                for wanted in ids.chunks(50) {
                    let wanted = wanted.to_vec();
                    let claimed = store.write(move |conn| claim(conn, wanted, now, until).map_err(StoreError::from));
                    // A deadlock's victim has claimed nothing; the worker looks again later.
                    taken.extend(claimed.await.unwrap_or_default().into_iter().map(|message| message.id));
                }
                taken
            });
        }
        let mut taken = claims.join_all().await.concat();
        taken.sort_unstable();
        let all = taken.len();
        taken.dedup();
        assert_eq!(taken.len(), all, "claimed twice");
        assert!(all > 0);
    }
}
