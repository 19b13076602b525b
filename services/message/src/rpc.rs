//! The message service on the wire, and the one place where its errors become answers.

use std::time::Duration;

use mesh::fault::Fault;
use mesh::identity::principal;
use mesh::store::{Id, Store, StoreError};
use mesh::value::{Page, PageSize, format_name, id_of};
use proto::listing::v1::notification;
use proto::message::v1::message_service_server::MessageService;
use proto::message::v1::{self, GetMessageRequest, GetMessageResponse, ListMessagesRequest, ListMessagesResponse};
use tonic::{Request, Response, Status};

use crate::app::{self, Error, Scope};
use crate::domain::{Channel, Message, State, Topic};

/// When a caller whose read failed may come back.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Answers from the rows.
#[derive(Clone)]
pub(crate) struct Messages(pub(crate) Store);

#[tonic::async_trait]
impl MessageService for Messages {
    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let query = ["messages", scope.key(), &request.reservation];
        let page = Page::parse(PageSize::STANDARD, request.page_size, &request.page_token, &query)?;
        // The contract's rule lets only well-formed names through; an absent one means all.
        let reservation = id_of("reservations", &request.reservation);
        let mut messages = app::list(&self.0, &scope, reservation, page).await.map_err(Fault::from)?;
        let next_page_token = page.cut(&mut messages, |message| message.id);
        Ok(Response::new(ListMessagesResponse { messages: messages.iter().map(to_wire).collect(), next_page_token }))
    }

    async fn get_message(&self, request: Request<GetMessageRequest>) -> Result<Response<GetMessageResponse>, Status> {
        let scope = scope(&request)?;
        let name = request.into_inner().name;
        let id = id_of("messages", &name).ok_or_else(|| not_found(name))?;
        let message = app::get(&self.0, &scope, id).await.map_err(Fault::from)?;
        Ok(Response::new(GetMessageResponse { message: Some(to_wire(&message)) }))
    }
}

fn scope<T>(request: &Request<T>) -> Result<Scope, Fault> {
    let caller = principal(request)?;
    Scope::of(&caller).ok_or_else(|| Fault::denied(mesh::fault::reason::NOT_ALLOWED, "only users have messages"))
}

fn not_found(name: String) -> Fault {
    Fault::not_found("MESSAGE_NOT_FOUND", "holdfast.dev/Message", name)
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound(id) => not_found(name(id)),
            Error::Store(StoreError::Deadline) => {
                Self::deadline_exceeded("the deadline passed before the messages were read")
            }
            Error::Store(cause) => {
                tracing::warn!(error = %mesh::fault::Chain(&cause), "the messages cannot be read");
                Self::unavailable("STORE_UNAVAILABLE", "the messages cannot be read now", RETRY_AFTER)
            }
        }
    }
}

/// `messages/{message}`.
pub(crate) fn name(id: Id) -> String {
    format_name("messages", id)
}

/// The message as the contract shows it.
pub(crate) fn to_wire(message: &Message) -> v1::Message {
    v1::Message {
        name: name(message.id),
        recipient: message.recipient.clone(),
        reservation: format_name("reservations", message.reservation),
        topic: topic(message.topic).into(),
        body: message.body.clone(),
        state: state(message.state).into(),
        attempts: message.attempts,
        create_time: Some(message.created_at.into()),
        send_time: message.sent_at.map(Into::into),
        channel: channel(message.channel).into(),
        language_code: message.language.code().to_owned(),
    }
}

/// The contract's topic.
pub(crate) fn topic(topic: Topic) -> v1::message::Topic {
    match topic {
        Topic::ReservationConfirmed => v1::message::Topic::ReservationConfirmed,
        Topic::ReservationCancelled => v1::message::Topic::ReservationCancelled,
        Topic::MileageIncreased => v1::message::Topic::MileageIncreased,
        Topic::MileageDecreased => v1::message::Topic::MileageDecreased,
        Topic::ReservationRequested => v1::message::Topic::ReservationRequested,
        Topic::ReservationApproved => v1::message::Topic::ReservationApproved,
        Topic::ReservationRejected => v1::message::Topic::ReservationRejected,
        Topic::ReservationForceCancelled => v1::message::Topic::ReservationForceCancelled,
        Topic::ReservationExpired => v1::message::Topic::ReservationExpired,
        Topic::ReservationCompleted => v1::message::Topic::ReservationCompleted,
    }
}

/// The contract's channel.
pub(crate) fn channel(channel: Channel) -> notification::Channel {
    match channel {
        Channel::Message => notification::Channel::Message,
        Channel::Sms => notification::Channel::Sms,
        Channel::Alarm => notification::Channel::Alarm,
    }
}

fn state(state: State) -> v1::message::State {
    match state {
        State::Pending => v1::message::State::Pending,
        State::Sent => v1::message::State::Sent,
        State::Failed => v1::message::State::Failed,
    }
}
