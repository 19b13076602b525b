//! Says who is calling.

use std::task::{Context, Poll};

use http::Request;
use http::header::AUTHORIZATION;
use tonic::body::Body;
use tower::Service;

use super::Credentials;

#[derive(Clone)]
pub(super) struct Identify<S> {
    inner: S,
    audience: &'static str,
    caller: Credentials,
}

impl<S> Identify<S> {
    pub(super) fn new(inner: S, audience: &'static str, caller: Credentials) -> Self {
        Self { inner, audience, caller }
    }
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Identify<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> S::Future {
        if !request.headers().contains_key(AUTHORIZATION) {
            let authorization = match &self.caller {
                Credentials::Service(identity) => Some(identity.authorization(self.audience)),
                Credentials::Fixed(authorization) => Some(authorization.clone()),
                Credentials::Anonymous => None,
            };
            if let Some(authorization) = authorization {
                request.headers_mut().insert(AUTHORIZATION, authorization);
            }
        }
        self.inner.call(request)
    }
}
