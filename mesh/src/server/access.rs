//! Who is calling, and whether the contract lets them. What has no rule does not exist; what the rule does not name is refused.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use proto::contract::MethodRule;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::connections::Peer;
use super::rules::Target;
use crate::fault::{Fault, reason};
use crate::identity::{Principal, Subject, Verifier};
use crate::tls::PeerIdentity;

pub(super) fn layer(verifier: Verifier) -> AccessLayer {
    AccessLayer { verifier }
}

#[derive(Clone)]
pub(super) struct AccessLayer {
    verifier: Verifier,
}

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access { inner, verifier: self.verifier.clone() }
    }
}

#[derive(Clone)]
pub(super) struct Access<S> {
    inner: S,
    verifier: Verifier,
}

impl<S> Service<Request<Body>> for Access<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response<Body>, Infallible>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let admitted = match Target::of(&request) {
            Target::Open => Ok(None),
            Target::Unknown => Err(Fault::unimplemented("this server has no such method")),
            Target::Method(rule) => {
                let proven = Peer::of(&request).and_then(|peer| peer.identity.as_ref());
                admit(&self.verifier, request.headers(), proven, rule).map(Some)
            }
        };
        match admitted {
            Ok(principal) => {
                // The handler knows who is calling; it has no use for the token, and must not pass it on or log it.
                request.headers_mut().remove(AUTHORIZATION);
                if let Some(principal) = principal {
                    request.extensions_mut().insert(principal);
                }
                Either::Right(self.inner.call(request))
            }
            Err(fault) => Either::Left(ready(Ok(Status::from(fault).into_http()))),
        }
    }
}

/// `proven` is whom the certificate of the connection speaks for, if there is one.
fn admit(
    verifier: &Verifier,
    headers: &HeaderMap,
    proven: Option<&PeerIdentity>,
    rule: &MethodRule,
) -> Result<Principal, Fault> {
    let principal = verifier.verify(bearer(headers)?)?;
    if let (Some(proven), Some(service)) = (proven, principal.service_name())
        && !proven.is(service)
    {
        let message = "the token is of another service than the certificate";
        return Err(Fault::unauthenticated(reason::CREDENTIALS_INVALID, message));
    }
    if allows(rule, &principal) { Ok(principal) } else { Err(denied(rule, &principal)) }
}

/// RFC 6750; the scheme in any case, exactly one header.
fn bearer(headers: &HeaderMap) -> Result<&str, Fault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(Fault::unauthenticated(reason::CREDENTIALS_MISSING, "the call carries no credentials"));
    };
    let token = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match (token, values.next()) {
        (Some((_, token)), None) => Ok(token.trim()),
        _ => {
            Err(Fault::unauthenticated(reason::CREDENTIALS_INVALID, "the authorization header is not one bearer token"))
        }
    }
}

fn allows(rule: &MethodRule, principal: &Principal) -> bool {
    match &principal.subject {
        Subject::User { roles, .. } => rule.roles.iter().any(|role| roles.contains(*role)),
        Subject::Service(name) => rule.services.contains(&&**name),
    }
}

fn denied(rule: &MethodRule, principal: &Principal) -> Fault {
    let method = &rule.path[1..];
    let who = match &principal.subject {
        Subject::User { .. } => "a user with these roles".to_owned(),
        Subject::Service(name) => format!("the service {name}"),
    };
    Fault::denied(reason::NOT_ALLOWED, format!("{who} may not call {method}"))
        .with("method", method)
        .with("caller", principal.to_string())
}
