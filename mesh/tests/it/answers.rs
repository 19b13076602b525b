use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use mesh::fault::{Fault, reason_of};
use mesh::server::Routes;
use proto::contract::Role;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};

use crate::harness::{Echo, Keys, Server, call, text};

#[tokio::test]
async fn every_refusal_says_why() {
    let keys = Keys::new();
    let echo = Echo::new(|request| async move {
        match request.get_ref().as_str() {
            "panic" => panic!("the secret is 4711"),
            "plain" => Err(Status::failed_precondition("not now")),
            "fault" => Err(Fault::not_found("THING_NOT_FOUND", "thing", "things/7").into()),
            other => Ok(other.to_owned()),
        }
    });
    let server = keys.serve("back", echo).await;
    let channel = server.channel("back", keys.user(&[Role::Customer]));
    let check = async |request: &str, code: Code, reason: &str| {
        let status = call(&channel, "Open", text(request)).await.unwrap_err();
        assert_eq!((status.code(), reason_of(&status).as_deref()), (code, Some(reason)), "{request:.20}: {status:?}");
        assert!(!status.message().contains("4711"));
    };
    check("panic", Code::Internal, "INTERNAL").await;
    check("plain", Code::FailedPrecondition, "FAILED_PRECONDITION").await;
    check("fault", Code::NotFound, "THING_NOT_FOUND").await;
    check(&"x".repeat(4 * 1024 * 1024 + 1), Code::ResourceExhausted, "MESSAGE_TOO_LARGE").await;
    assert_eq!(call(&channel, "Open", text("still there")).await.unwrap(), "still there");
    server.stop().await;
}

#[tokio::test]
async fn malformed_details_from_a_peer_do_no_harm() {
    let keys = Keys::new();
    // tonic's client panics on details that are not base64.
    for (details, reason) in [("%%%", None), ("////", None)] {
        let server = Server::start_routes(keys.spec("back"), Routes::new(Foreign(details))).await;
        let channel = server.channel("back", keys.user(&[Role::Customer]));
        let status = call(&channel, "Open", text("")).await.unwrap_err();
        assert_eq!((status.code(), reason_of(&status)), (Code::Aborted, reason), "{details}");
        assert_eq!(Fault::from_status(&status).reason(), "ABORTED");
        server.stop().await;
    }
}

/// Answers with details that are not ours.
#[derive(Clone)]
struct Foreign(&'static str);

impl NamedService for Foreign {
    const NAME: &'static str = Echo::NAME;
}

impl tower::Service<http::Request<Body>> for Foreign {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        let response = http::Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "10")
            .header("grpc-status-details-bin", self.0);
        ready(Ok(response.body(Body::empty()).unwrap()))
    }
}
