//! A service's own identity: short tokens, one per callee, signed with its own key.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex};

use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde::Serialize;

use super::{IssuerError, KeyDirectory, SERVICE_ISSUER_PREFIX, SERVICE_TOKEN_LIFE_SECONDS, SERVICE_TOKEN_TYPE};

/// A token is replaced while it still has this long to live, so that it does not expire on the way.
const RENEW_BEFORE_SECONDS: u64 = 20;

/// Signs in a service's name. Cheap to clone; clones share the tokens made so far.
#[derive(Clone)]
pub struct ServiceIdentity(Arc<Inner>);

struct Inner {
    service: String,
    header: Header,
    key: EncodingKey,
    /// By audience: at most one entry per service called.
    tokens: Mutex<HashMap<String, Signed>>,
}

struct Signed {
    authorization: HeaderValue,
    expires: u64,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
}

impl ServiceIdentity {
    /// Reads the service's private key.
    ///
    /// # Errors
    /// The key is missing or not an Ed25519 key in PKCS #8 PEM.
    pub fn open(keys: &KeyDirectory, service: &str) -> Result<Self, IssuerError> {
        let path = keys.service_key(service);
        let pem = fs::read(&path).map_err(|source| IssuerError::File { path: path.clone(), source })?;
        let key = EncodingKey::from_ed_pem(&pem).map_err(|source| IssuerError::Key { path, source })?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(SERVICE_TOKEN_TYPE.to_owned());
        header.kid = Some(service.to_owned());
        Ok(Self(Arc::new(Inner { service: service.to_owned(), header, key, tokens: Mutex::default() })))
    }

    /// The service it speaks for.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.0.service
    }

    /// The `authorization` header for a call to `audience`, valid for at least another 20 s. Signs at most once per 40 s and audience.
    #[must_use]
    pub fn authorization(&self, audience: &str) -> HeaderValue {
        let now = get_current_timestamp();
        let mut tokens = self.0.tokens.lock().expect("nothing panics while holding the lock");
        if let Some(signed) = tokens.get(audience)
            && signed.expires >= now + RENEW_BEFORE_SECONDS
            && signed.expires <= now + SERVICE_TOKEN_LIFE_SECONDS
        {
            return signed.authorization.clone();
        }
        let expires = now + SERVICE_TOKEN_LIFE_SECONDS;
        let authorization = bearer(&self.sign(audience, now, expires));
        tokens.insert(audience.to_owned(), Signed { authorization: authorization.clone(), expires });
        authorization
    }

    fn sign(&self, audience: &str, now: u64, expires: u64) -> String {
        let issuer = format!("{SERVICE_ISSUER_PREFIX}{}", self.0.service);
        let claims = Claims { iss: &issuer, sub: &self.0.service, aud: audience, iat: now, nbf: now, exp: expires };
        encode(&self.0.header, &claims, &self.0.key).expect("the key was checked when it was read")
    }
}

/// `Bearer <token>`, kept out of header compression tables and logs.
pub(crate) fn bearer(token: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a compact JWT is plain ASCII");
    value.set_sensitive(true);
    value
}

impl std::fmt::Debug for ServiceIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceIdentity").field("service", &self.0.service).finish_non_exhaustive()
    }
}
