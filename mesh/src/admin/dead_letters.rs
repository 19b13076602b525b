//! The events that the service's consumers gave up on: listed, shown, handled after all.

use std::sync::Arc;

use proto::mesh::v1::dead_letter_service_server::DeadLetterService;
use proto::mesh::v1::{
    DeadLetter, GetDeadLetterRequest, GetDeadLetterResponse, ListDeadLettersRequest, ListDeadLettersResponse,
    RedriveDeadLetterRequest, RedriveDeadLetterResponse,
};
use tonic::{Request, Response, Status};

use super::{Admin, RETRY_AFTER, count, id_of, number_of, store_fault};
use crate::consumer::{ConsumerSpec, Failure, Letter, Letters, LettersError, Worker};
use crate::event::Received;
use crate::fault::{Chain, Fault};
use crate::identity::principal;
use crate::value::{Page, PageSize};

const COLLECTION: &str = "deadLetters/";

#[tonic::async_trait]
impl DeadLetterService for Admin {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let request = request.into_inner();
        let query = ["deadLetters", self.0.service, &request.consumer];
        let page = Page::parse(PageSize::STANDARD, request.page_size, &request.page_token, &query)?;
        let wanted = |spec: &&ConsumerSpec| request.consumer.is_empty() || spec.durable == request.consumer;
        let specs: Vec<_> = self.0.consumers.iter().map(|consumer| consumer.spec()).filter(wanted).collect();
        let after = page.after().map_or(0, number_of);
        let limit = usize::try_from(page.limit()).unwrap_or(usize::MAX);
        let letters = Letters::open(&self.0.bus).await.map_err(Fault::from)?;
        let mut found = letters.list(&specs, after, limit).await.map_err(Fault::from)?;
        let next_page_token = page.cut(&mut found, |letter| id_of(letter.sequence));
        let dead_letters = found.iter().filter_map(|letter| Some(to_wire(letter, self.consumer_of(letter)?.spec())));
        Ok(Response::new(ListDeadLettersResponse { dead_letters: dead_letters.collect(), next_page_token }))
    }

    async fn get_dead_letter(
        &self,
        request: Request<GetDeadLetterRequest>,
    ) -> Result<Response<GetDeadLetterResponse>, Status> {
        let name = request.into_inner().name;
        let letters = Letters::open(&self.0.bus).await.map_err(Fault::from)?;
        let (letter, consumer) = self.find(&letters, &name).await?;
        let dead_letter = DeadLetter { payload: letter.payload.to_vec(), ..to_wire(&letter, consumer.spec()) };
        Ok(Response::new(GetDeadLetterResponse { dead_letter: Some(dead_letter) }))
    }

    /// # Cancel safety
    /// The letter goes last: what is dropped before leaves it, and a repeat finds the effect stored.
    async fn redrive_dead_letter(
        &self,
        request: Request<RedriveDeadLetterRequest>,
    ) -> Result<Response<RedriveDeadLetterResponse>, Status> {
        let operator = principal(&request)?;
        let name = request.into_inner().name;
        let letters = Letters::open(&self.0.bus).await.map_err(Fault::from)?;
        let (letter, consumer) = self.find(&letters, &name).await?;
        let durable = consumer.spec().durable;
        tracing::info!(%operator, durable, dead_letter = name, "redriving an event");
        redrive(&letter, &consumer).await.map_err(|failure| refusal(failure, &name))?;
        letters.remove(&letter).await.map_err(Fault::from)?;
        Ok(Response::new(RedriveDeadLetterResponse { dead_letter: Some(to_wire(&letter, consumer.spec())) }))
    }
}

impl Admin {
    fn consumer_of(&self, letter: &Letter) -> Option<&Arc<Worker>> {
        self.0.consumers.iter().find(|consumer| letter.is_of(consumer.spec()))
    }

    /// The letter of this name, if one of this node's consumers gave it up.
    async fn find(&self, letters: &Letters, name: &str) -> Result<(Letter, Arc<Worker>), Fault> {
        let sequence = name.strip_prefix(COLLECTION).and_then(|number| number.parse().ok());
        let found = match sequence {
            Some(sequence) => letters.get(sequence).await?,
            None => None,
        };
        let owned = found.and_then(|letter| {
            let consumer = Arc::clone(self.consumer_of(&letter)?);
            Some((letter, consumer))
        });
        owned.ok_or_else(|| Fault::not_found("DEAD_LETTER_NOT_FOUND", "holdfast.dev/DeadLetter", name))
    }
}

/// Why an event is not handled now either.
enum Refusal {
    /// The handler, or the event itself.
    Event(String),
    /// The consumer.
    Failure(Failure),
}

async fn redrive(letter: &Letter, consumer: &Worker) -> Result<(), Refusal> {
    let event = letter.event.clone().map_err(|malformed| Refusal::Event(malformed.to_string()))?;
    consumer.redrive(event).await.map_err(Refusal::Failure)
}

fn refusal(refusal: Refusal, name: &str) -> Fault {
    let error = match refusal {
        Refusal::Failure(Failure::Store(error)) => return store_fault(error),
        Refusal::Failure(Failure::Handler(error)) => error.to_string(),
        Refusal::Event(error) => error,
    };
    tracing::warn!(dead_letter = name, error, "an event is refused again");
    Fault::precondition("EVENT_REFUSED", "EVENT", name, format!("the consumer refuses the event again: {error}"))
        .with("error", error)
}

impl From<LettersError> for Fault {
    fn from(error: LettersError) -> Self {
        tracing::warn!(error = %Chain(&error), "the dead letters cannot be reached");
        Self::unavailable("BROKER_UNAVAILABLE", "the dead letters cannot be reached now", RETRY_AFTER)
    }
}

/// Without its payload.
fn to_wire(letter: &Letter, consumer: &ConsumerSpec) -> DeadLetter {
    let told = DeadLetter {
        name: format!("{COLLECTION}{}", letter.sequence),
        consumer: consumer.durable.to_owned(),
        stream: consumer.stream.to_owned(),
        stream_sequence: count(letter.stream_sequence),
        create_time: Some(letter.at.into()),
        delivery_count: count(letter.delivered),
        error: letter.error.clone(),
        ..DeadLetter::default()
    };
    match &letter.event {
        Ok(Received { id, kind, aggregate, version, correlation, time, .. }) => DeadLetter {
            event_id: id.to_string(),
            r#type: kind.clone(),
            resource: aggregate.clone(),
            version: *version,
            correlation: correlation.clone(),
            event_time: Some((*time).into()),
            ..told
        },
        Err(_) => told,
    }
}
