//! Checks tokens. The key that signed decides what a token may claim: an issuer's key speaks for users, a service's key for that service only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jsonwebtoken::{Validation, decode, decode_header, get_current_timestamp};
use proto::contract::Role;
use serde::Deserialize;

use super::jwks::{KeySet, VerifyingKey};
use super::{
    AUDIENCE, ISSUER, KeyDirectory, Principal, SERVICE_ISSUER_PREFIX, SERVICE_TOKEN_LIFE_SECONDS, SERVICE_TOKEN_TYPE,
    USER_TOKEN_TYPE,
};
use crate::fault::{Fault, reason};

/// Clocks of two computers may differ by this.
const LEEWAY_SECONDS: u64 = 5;
/// A longer text is not a token of ours.
const TOKEN_LIMIT_BYTES: usize = 8 * 1024;
/// Verified tokens remembered: two generations of this many.
const CACHE_GENERATION: usize = 2048;

/// Turns a token into a [`Principal`]. Cheap to clone; clones share keys and cache.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    audience: String,
    issuer: String,
    state: Mutex<State>,
}

struct State {
    users: KeySet,
    services: KeySet,
    cache: Cache,
}

#[derive(Deserialize)]
struct UserClaims {
    sub: String,
    exp: u64,
    #[serde(default)]
    roles: Vec<String>,
}

#[derive(Deserialize)]
struct ServiceClaims {
    sub: String,
    exp: u64,
    iat: u64,
}

impl Verifier {
    /// Checks tokens meant for the service `audience`, with the public keys in `keys`. Missing key files are awaited: until they are
    /// there, every token is refused.
    #[must_use]
    pub fn open(keys: &KeyDirectory, audience: &str) -> Self {
        Self::with_issuer(keys, audience, ISSUER)
    }

    /// As [`open`](Self::open), with user tokens of another issuer.
    #[must_use]
    pub fn with_issuer(keys: &KeyDirectory, audience: &str, issuer: &str) -> Self {
        let mut state =
            State { users: KeySet::new(keys.users()), services: KeySet::new(keys.services()), cache: Cache::default() };
        state.users.refresh();
        state.services.refresh();
        Self(Arc::new(Inner { audience: audience.to_owned(), issuer: issuer.to_owned(), state: Mutex::new(state) }))
    }

    /// The caller that the token proves.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`; the message names the class of the mistake and nothing of the token.
    pub fn verify(&self, token: &str) -> Result<Principal, Fault> {
        let now = get_current_timestamp();
        let mut state = self.0.state.lock().expect("nothing panics while holding the lock");
        let state = &mut *state;
        if state.users.refresh() | state.services.refresh() {
            state.cache = Cache::default();
        }
        if let Some(principal) = state.cache.find(token, now) {
            return Ok(principal);
        }
        let (principal, expires) = self.check(state, token, now).map_err(refused)?;
        state.cache.insert(token, principal.clone(), expires);
        Ok(principal)
    }

    fn check(&self, state: &mut State, token: &str, now: u64) -> Result<(Principal, u64), &'static str> {
        if token.len() > TOKEN_LIMIT_BYTES {
            return Err("the token is too long");
        }
        let header = decode_header(token).map_err(|_| "the token is malformed")?;
        let kid = header.kid.as_deref().ok_or("the token names no key")?;
        match header.typ.as_deref() {
            Some(USER_TOKEN_TYPE) => {
                let key = find(&mut state.users, kid, &mut state.cache)?;
                self.check_user(token, key)
            }
            Some(SERVICE_TOKEN_TYPE) => {
                let key = find(&mut state.services, kid, &mut state.cache)?;
                self.check_service(token, kid, key, now)
            }
            _ => Err("the token is of another type"),
        }
    }

    fn check_user(&self, token: &str, key: &VerifyingKey) -> Result<(Principal, u64), &'static str> {
        let rules = rules(key, &self.0.issuer, AUDIENCE);
        let claims = decode::<UserClaims>(token, &key.key, &rules).map_err(|error| describe(&error))?.claims;
        if claims.sub.is_empty() {
            return Err("the token names no subject");
        }
        // Roles this version does not know give no rights.
        let roles = claims.roles.iter().filter_map(|role| role.parse::<Role>().ok());
        Ok((Principal::user(claims.sub, roles), claims.exp))
    }

    fn check_service(
        &self,
        token: &str,
        service: &str,
        key: &VerifyingKey,
        now: u64,
    ) -> Result<(Principal, u64), &'static str> {
        let rules = rules(key, &format!("{SERVICE_ISSUER_PREFIX}{service}"), &self.0.audience);
        let claims = decode::<ServiceClaims>(token, &key.key, &rules).map_err(|error| describe(&error))?.claims;
        if claims.sub != service {
            return Err("the token's subject is not the key's owner");
        }
        let longest = SERVICE_TOKEN_LIFE_SECONDS;
        if claims.exp.saturating_sub(claims.iat) > longest || claims.exp > now + longest + LEEWAY_SECONDS {
            return Err("the token lives too long");
        }
        Ok((Principal::service(claims.sub), claims.exp))
    }
}

/// The key, looking at the file again if it is not known. Keys that changed invalidate what was verified before.
fn find<'a>(keys: &'a mut KeySet, kid: &str, cache: &mut Cache) -> Result<&'a VerifyingKey, &'static str> {
    if keys.find(kid).is_none() && keys.refresh_eagerly() {
        *cache = Cache::default();
    }
    keys.find(kid).ok_or("the token is signed with an unknown key")
}

fn rules(key: &VerifyingKey, issuer: &str, audience: &str) -> Validation {
    let mut rules = Validation::new(key.algorithm);
    rules.leeway = LEEWAY_SECONDS;
    rules.validate_nbf = true;
    rules.set_issuer(&[issuer]);
    rules.set_audience(&[audience]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    rules
}

fn describe(error: &jsonwebtoken::errors::Error) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidAudience => "the token is meant for somebody else",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidSignature => "the token's signature is wrong",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => "the token's algorithm is not accepted",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks a claim",
        _ => "the token is malformed",
    }
}

fn refused(message: &'static str) -> Fault {
    Fault::unauthenticated(reason::CREDENTIALS_INVALID, message)
}

/// Tokens that were found good, until they expire. When one generation is full the older one goes: bounded, and what is used stays.
#[derive(Default)]
struct Cache {
    young: HashMap<Box<str>, Verified>,
    old: HashMap<Box<str>, Verified>,
}

#[derive(Clone)]
struct Verified {
    principal: Principal,
    expires: u64,
}

impl Cache {
    fn find(&mut self, token: &str, now: u64) -> Option<Principal> {
        if let Some(verified) = self.young.get(token) {
            return (now < verified.expires).then(|| verified.principal.clone());
        }
        let (token, verified) = self.old.remove_entry(token)?;
        let principal = (now < verified.expires).then(|| verified.principal.clone());
        self.put(token, verified);
        principal
    }

    fn insert(&mut self, token: &str, principal: Principal, expires: u64) {
        self.put(token.into(), Verified { principal, expires });
    }

    fn put(&mut self, token: Box<str>, verified: Verified) {
        if self.young.len() >= CACHE_GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token, verified);
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("audience", &self.0.audience)
            .field("issuer", &self.0.issuer)
            .finish_non_exhaustive()
    }
}
