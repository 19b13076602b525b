//! Which rule a path has.

use std::collections::HashMap;

use proto::contract::MethodRule;

/// Served to everybody: orchestrators probe health without credentials, and the contracts are no secret.
const OPEN: [&str; 3] =
    ["/grpc.health.v1.Health/", "/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/"];

/// What a path leads to. Put into the request's extensions by the outermost layer, read by the others.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// A method of the contract.
    Method(&'static MethodRule),
    /// Health or reflection.
    Open,
    /// Nothing.
    Unknown,
}

/// The contract's rules by path.
pub(super) struct Rules(HashMap<&'static str, &'static MethodRule>);

impl Rules {
    pub(super) fn new(rules: &'static [MethodRule]) -> Self {
        Self(rules.iter().map(|rule| (rule.path, rule)).collect())
    }

    pub(super) fn find(&self, path: &str) -> Target {
        match self.0.get(path) {
            Some(rule) => Target::Method(rule),
            None if OPEN.iter().any(|prefix| path.starts_with(prefix)) => Target::Open,
            None => Target::Unknown,
        }
    }
}

impl Target {
    /// Of a request that passed the outermost layer.
    pub(super) fn of<B>(request: &http::Request<B>) -> Self {
        request.extensions().get::<Self>().copied().unwrap_or(Self::Unknown)
    }
}
