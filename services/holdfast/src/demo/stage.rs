//! What every story is told with: users for this run, steps that say what came back, and a close that shows what everybody was told.

use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use proto::contract::Role;
use proto::listing::v1::{Listing, hold};
use proto::message::v1::{Message, message};
use proto::payment::v1::{Payment, payment};
use proto::reservation::v1::reservation::{Slot, State};
use proto::reservation::v1::{CreateReservationRequest, Reservation};
use proto::view::v1::Trip;
use tonic::Status;
use uuid::Uuid;

use super::DemoArgs;
use crate::actor::{Actor, amount, brief, word};
use crate::api::Target;
use crate::business::{Business, days_ahead};
use crate::duration::readable;
use crate::failure::code_and_reason;
use crate::steps::Steps;
use crate::terminal::{Style, Table, paint, say};
use crate::trace;

/// Every story is about so many days from now.
const DAYS_AHEAD: i32 = 30;
const NIGHTS: i32 = 2;

/// Where a story is told.
pub(super) struct Stage<'a> {
    target: &'a Target,
    business: Business,
    steps: Steps,
    language: &'static str,
    /// Tells the users of this run from those of others.
    run: String,
}

impl<'a> Stage<'a> {
    pub(super) fn new(target: &'a Target, args: &DemoArgs, business: Business) -> Self {
        let run = Uuid::new_v4().simple().to_string()[..8].to_owned();
        Self { target, business, steps: Steps::new(args.patience), language: args.language.code(), run }
    }

    pub(super) fn steps(&self) -> usize {
        self.steps.count()
    }

    pub(super) fn host(&self, name: &str) -> Result<Actor> {
        self.actor(name, Role::Host)
    }

    pub(super) fn customer(&self, name: &str) -> Result<Actor> {
        self.actor(name, Role::Customer)
    }

    fn actor(&self, name: &str, role: Role) -> Result<Actor> {
        let subject = format!("{}-{}", name.to_lowercase().replace(' ', "-"), self.run);
        Actor::new(self.target, name, &subject, role)
    }

    /// When it is: two nights, a date, or whenever.
    pub(super) fn slot(&self) -> Option<Slot> {
        self.business.slot(days_ahead(DAYS_AHEAD), NIGHTS)
    }

    /// What a customer asks for.
    pub(super) fn request(&self, listing: &str, note: &str) -> CreateReservationRequest {
        let mut request = self.business.request(listing.to_owned(), self.slot(), Uuid::new_v4());
        if let Some(reservation) = &mut request.reservation {
            reservation.language_code = self.language.to_owned();
            reservation.note = note.to_owned();
        }
        request
    }

    /// The business's usual listing, so many units.
    pub(super) fn listing(&self, capacity: i32) -> Listing {
        Listing { language_code: self.language.to_owned(), ..self.business.listing(capacity) }
    }

    /// A host offers a listing; its name.
    pub(super) async fn offers(&mut self, host: &Actor, listing: Listing) -> Result<String> {
        let title = format!("{} offers {}", host.name, listing.display_name);
        let told = |listing: &Listing| format!("{}, {}", amount(listing.price.as_ref()), listing.name);
        Ok(self.steps.act(&title, host.offer(listing), told).await?.name)
    }

    /// A host takes a listing down.
    pub(super) async fn withdraws(&mut self, host: &Actor, listing: &str) -> Result<()> {
        let title = format!("{} takes the listing down", host.name);
        self.steps.step(&title, host.delete_listing(listing)).await
    }

    /// Somebody does something to a reservation, and it is in this state then.
    pub(super) async fn does(
        &mut self,
        title: &str,
        work: impl Future<Output = Result<Reservation>>,
        state: State,
    ) -> Result<Reservation> {
        let doing = async {
            let reservation = work.await?;
            let seen = word(reservation.state().as_str_name());
            ensure!(reservation.state() == state, "{} is {seen}", reservation.name);
            Ok(reservation)
        };
        self.steps.act(title, doing, outcome).await
    }

    /// Somebody tries something and is refused for this reason.
    pub(super) async fn is_refused(
        &mut self,
        title: &str,
        work: impl Future<Output = Result<Reservation>>,
        reason: &str,
    ) -> Result<()> {
        let trying = async {
            match work.await {
                Ok(reservation) => bail!("it was accepted: {}", outcome(&reservation)),
                Err(error) => {
                    let refusal = error.downcast_ref::<Status>().map(code_and_reason).unwrap_or_default();
                    if refusal.ends_with(&format!("/{reason}")) { Ok(refusal) } else { Err(error) }
                }
            }
        };
        self.steps.act(title, trying, |refusal| format!("refused, {refusal}")).await.map(|_| ())
    }

    /// The payment of a reservation is in this state.
    pub(super) async fn is_paid(
        &mut self,
        title: &str,
        payer: &Actor,
        reservation: &Reservation,
        state: payment::State,
    ) -> Result<()> {
        let asking = async {
            let payment = payer.payment(&reservation.payment).await?;
            let seen = word(payment.state().as_str_name());
            ensure!(payment.state() == state, "{} is {seen}", payment.name);
            Ok(payment)
        };
        let told = |payment: &Payment| {
            format!("payment {}, {}", word(payment.state().as_str_name()), amount(payment.amount.as_ref()))
        };
        self.steps.act(title, asking, told).await.map(|_| ())
    }

    /// My page of a user comes to show a reservation as wanted.
    pub(super) async fn comes_to_show(
        &mut self,
        title: &str,
        who: &Actor,
        reservation: &Reservation,
        wanted: impl Fn(&Trip) -> bool,
    ) -> Result<Trip> {
        let watching = who.watch(&reservation.name, self.steps.patience(), wanted);
        self.steps.act(title, watching, brief).await
    }

    /// A user is told of something; the text is what came back. `count` is how many messages about the reservation are sent by then, to whomever.
    pub(super) async fn is_told(
        &mut self,
        who: &Actor,
        reservation: &Reservation,
        topic: message::Topic,
        count: i32,
    ) -> Result<()> {
        let title = format!("{} is told", who.name);
        let patience = self.steps.patience();
        let hearing = async {
            who.watch(&reservation.name, patience, |trip| trip.message_count >= count).await?;
            let messages = who.messages(&reservation.name).await?;
            let found = messages.into_iter().find(|message| message.topic() == topic);
            found.ok_or_else(|| anyhow!("{count} messages are sent, none of {}", word(topic.as_str_name())))
        };
        let told =
            |message: &Message| format!("{}: {}", word(message.channel().as_str_name()), one_line(&message.body));
        self.steps.act(&title, hearing, told).await.map(|_| ())
    }

    /// A line about a number.
    pub(super) async fn shows<T: ToString>(&mut self, title: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.steps.act(title, work, T::to_string).await
    }

    /// Shows what everybody was told, their pages, and what happened to the first of these reservations.
    pub(super) async fn close(&mut self, users: &[&Actor], reservations: &[&Reservation]) -> Result<()> {
        self.messages(users, reservations).await?;
        for user in users {
            say(format_args!("\n{}", paint(Style::Strong, format_args!("My page of {}", user.name))));
            page(&user.trips().await?).print();
        }
        if let (Some(user), Some(reservation)) = (users.first(), reservations.first()) {
            say("");
            trace::print(&reservation.name, &user.timeline(&reservation.name).await?)?;
        }
        Ok(())
    }

    async fn messages(&self, users: &[&Actor], reservations: &[&Reservation]) -> Result<()> {
        let mut table = Table::new(["to", "by", "of", "text"]);
        let mut count = 0;
        for reservation in reservations {
            for user in users {
                let messages = user.messages(&reservation.name).await?;
                for message in messages.iter().filter(|message| message.state() == message::State::Sent) {
                    count += 1;
                    table.row([
                        user.name.clone(),
                        word(message.channel().as_str_name()).to_owned(),
                        word(message.topic().as_str_name()).to_owned(),
                        one_line(&message.body),
                    ]);
                }
            }
        }
        say(format_args!("\n{}", paint(Style::Strong, "Messages delivered")));
        if count == 0 {
            say("none: this business tells nobody, my page shows it");
        } else {
            table.print();
        }
        Ok(())
    }
}

/// State, money and time of a reservation.
fn outcome(reservation: &Reservation) -> String {
    let mut parts = vec![word(reservation.state().as_str_name()).to_owned(), amount(reservation.total.as_ref())];
    if !reservation.approval_number.is_empty() {
        parts.push(format!("approval {}", reservation.approval_number));
    }
    if let (Some(expires), Some(changed)) = (&reservation.expire_time, &reservation.update_time) {
        let seconds = u64::try_from(expires.seconds - changed.seconds).unwrap_or(0);
        parts.push(format!("expires in {}", span(Duration::from_secs(seconds))));
    }
    if !reservation.reject_reason.is_empty() {
        parts.push(format!("because: {}", reservation.reject_reason));
    }
    parts.join(", ")
}

/// Hours where there are any.
fn span(time: Duration) -> String {
    match time.as_secs() / 3_600 {
        0 => readable(time),
        hours => format!("{hours} h"),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn page(trips: &[Trip]) -> Table {
    let mut table =
        Table::new(["reservation", "listing", "state", "total", "payment", "miles", "voucher", "place", "messages"])
            .right(&[5, 8]);
    for trip in trips {
        let Some(reservation) = &trip.reservation else { continue };
        let known = |there: bool, text: String| if there { text } else { "–".to_owned() };
        table.row([
            trace::short(&reservation.name),
            reservation.listing_display_name.clone(),
            word(reservation.state().as_str_name()).to_owned(),
            amount(reservation.total.as_ref()),
            known(!trip.payment.is_empty(), word(trip.payment_state().as_str_name()).to_owned()),
            trip.mileage_points.to_string(),
            known(
                !trip.ticket_number.is_empty(),
                format!("{} {}", trip.ticket_number, word(trip.voucher_state().as_str_name())),
            ),
            word(trip.hold_state().as_str_name()).to_owned(),
            trip.message_count.to_string(),
        ]);
    }
    table
}

/// Whether a trip is in this state with its place so.
pub(super) fn is(trip: &Trip, state: State, place: hold::State) -> bool {
    trip.reservation.as_ref().map(Reservation::state) == Some(state) && trip.hold_state() == place
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;
    use crate::business::won;

    #[test]
    fn an_outcome_tells_state_money_and_time() {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let waits = Reservation {
            state: State::AwaitingApproval.into(),
            total: Some(won(3_800)),
            update_time: at(1_000),
            expire_time: at(1_000 + 86_400),
            ..Reservation::default()
        };
        assert_eq!(outcome(&waits), "AWAITING_APPROVAL, KRW 3800, expires in 24 h");
        let short = Reservation { expire_time: at(1_030), ..waits };
        assert_eq!(outcome(&short), "AWAITING_APPROVAL, KRW 3800, expires in 30.00 s");
        let rejected = Reservation {
            state: State::Rejected.into(),
            total: Some(won(0)),
            reject_reason: "no dogs".to_owned(),
            ..Reservation::default()
        };
        assert_eq!(outcome(&rejected), "REJECTED, free of charge, because: no dogs");
    }
}
