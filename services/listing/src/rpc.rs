//! The contract's side: generated traits to use cases, and the one table of errors.

mod fault;
mod holds;
mod listings;
mod parse;
mod reviews;

use mesh::fault::Fault;
use mesh::identity;
use mesh::requests::{self, RequestKey};
use mesh::server::Routes;
use prost::Message;
use proto::listing::v1::{
    hold_service_server::HoldServiceServer, listing_service_server::ListingServiceServer,
    review_service_server::ReviewServiceServer,
};

use crate::app::{Answer, App, Request};

/// What this service serves.
pub(crate) const SERVICES: &[&str] =
    &["holdfast.listing.v1.ListingService", "holdfast.listing.v1.HoldService", "holdfast.listing.v1.ReviewService"];

pub(crate) fn routes(app: App) -> Routes {
    let rpc = Rpc { app };
    Routes::new(ListingServiceServer::new(rpc.clone()))
        .add_service(HoldServiceServer::new(rpc.clone()))
        .add_service(ReviewServiceServer::new(rpc))
}

/// Answers the calls of all three services.
#[derive(Clone)]
struct Rpc {
    app: App,
}

/// The calling user's id. The contract lets only users call where this is asked.
fn caller<T>(request: &tonic::Request<T>) -> Result<String, Fault> {
    let principal = identity::principal(request)?;
    let user = principal.user_id().ok_or_else(|| Fault::denied("NOT_ALLOWED", "only users may call this"))?;
    Ok(user.to_owned())
}

/// Identifies a command by who sent it, its method and its request id. Give the message without the request id.
fn request(caller: &str, method: &str, request_id: &str, message: &impl Message) -> Request {
    Request {
        key: RequestKey::new(caller, method, &request_id.to_ascii_lowercase()),
        fingerprint: requests::fingerprint(&message.encode_to_vec()),
    }
}

/// The same where a request id need not be given.
fn optional_request(caller: &str, method: &str, request_id: &str, message: &impl Message) -> Option<Request> {
    (!request_id.is_empty()).then(|| request(caller, method, request_id, message))
}

/// What this call came to, or what the first one with its request id was told.
///
/// # Panics
/// When somebody else has stored the answer.
fn told<T, M: Message + Default>(answer: Answer<T>, show: impl FnOnce(&T) -> M) -> M {
    match answer {
        Answer::New(done) => show(&done),
        Answer::First(bytes) => M::decode(bytes.as_slice()).expect("stored answers are ours"),
    }
}
