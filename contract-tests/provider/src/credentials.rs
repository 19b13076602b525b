//! Who calls, with tokens that are good and tokens that are not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use mesh::identity::{Issuer, IssuerError, KeyDirectory, ServiceIdentity};
use proto::contract::Role;
use serde_json::{Value, json};

const LIFE: Duration = Duration::from_secs(3600);

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    User { role: String, subject: String },
    Service(String),
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User { role, subject } => write!(f, "the {role} {subject}"),
            Self::Service(name) => write!(f, "the service {name}"),
        }
    }
}

/// A token that must not be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgery {
    Missing,
    Expired,
    WrongAudience,
    WrongIssuer,
    AlgNone,
    KeyConfusion,
    BadSignature,
}

impl Forgery {
    pub(crate) const ALL: [Self; 7] = [
        Self::Missing,
        Self::Expired,
        Self::WrongAudience,
        Self::WrongIssuer,
        Self::AlgNone,
        Self::KeyConfusion,
        Self::BadSignature,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Missing => "none",
            Self::Expired => "expired",
            Self::WrongAudience => "wrong_audience",
            Self::WrongIssuer => "wrong_issuer",
            Self::AlgNone => "alg_none",
            Self::KeyConfusion => "key_confusion",
            Self::BadSignature => "bad_signature",
        }
    }

    /// Whether it takes no key to make it.
    pub(crate) const fn needs_only_a_token(self) -> bool {
        matches!(self, Self::Missing | Self::AlgNone | Self::BadSignature)
    }
}

/// Where tokens come from.
pub enum Credentials {
    /// From the keys of the mesh: anybody can be signed for.
    Keys(Box<Keys>),
    /// Given, by role.
    Tokens(BTreeMap<String, String>),
}

/// The keys of a mesh.
pub struct Keys {
    directory: KeyDirectory,
    issuer: Issuer,
}

impl Credentials {
    /// The folder that the services share, e.g. `.holdfast/keys`.
    ///
    /// # Errors
    /// The issuer's key is not there.
    pub fn keys(folder: &Path) -> Result<Self, IssuerError> {
        let issuer = Issuer::open(folder)?;
        Ok(Self::Keys(Box::new(Keys { directory: KeyDirectory::new(folder), issuer })))
    }

    pub(crate) fn speaks_for(&self, role: &str) -> bool {
        match self {
            Self::Keys(_) => true,
            Self::Tokens(tokens) => tokens.contains_key(role),
        }
    }

    pub(crate) fn speaks_for_services(&self) -> bool {
        matches!(self, Self::Keys(_))
    }

    /// A good token for a call to `audience`.
    pub(crate) fn token(&self, caller: &Caller, audience: &str) -> Option<String> {
        match (self, caller) {
            (Self::Tokens(tokens), Caller::User { role, .. }) => tokens.get(role).cloned(),
            (Self::Tokens(_), Caller::Service(_)) => None,
            (Self::Keys(keys), Caller::User { role, subject }) => {
                let role: Role = role.parse().ok()?;
                Some(keys.issuer.token(subject, &[role], LIFE))
            }
            (Self::Keys(keys), Caller::Service(name)) => {
                let header = ServiceIdentity::open(&keys.directory, name).ok()?.authorization(audience);
                Some(header.to_str().ok()?.split_once(' ')?.1.to_owned())
            }
        }
    }

    /// A token that is like a good one, but for one thing; `Some(None)` is none at all, `None` that it cannot be made.
    pub(crate) fn forged(&self, forgery: Forgery, caller: &Caller, audience: &str) -> Option<Option<String>> {
        if forgery == Forgery::Missing {
            return Some(None);
        }
        let good = self.token(caller, audience)?;
        let [header, claims, signature] = good.split('.').collect::<Vec<_>>().try_into().ok()?;
        let changed = |name: &str, value: Value| {
            let mut claims = read(claims)?;
            claims[name] = value;
            self.signed(caller, &read(header)?, &claims)
        };
        let past = get_current_timestamp() - LIFE.as_secs();
        let token = match forgery {
            Forgery::Missing => return Some(None),
            Forgery::Expired => {
                let mut claims = read(claims)?;
                (claims["iat"], claims["nbf"], claims["exp"]) = (json!(past - 60), json!(past - 60), json!(past));
                self.signed(caller, &read(header)?, &claims)?
            }
            Forgery::WrongAudience => changed("aud", json!("somebody-else"))?,
            Forgery::WrongIssuer => changed("iss", json!("https://issuer.example"))?,
            Forgery::AlgNone => {
                let mut header = read(header)?;
                header["alg"] = json!("none");
                format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(header.to_string()))
            }
            Forgery::KeyConfusion => self.confused(&read(header)?, &read(claims)?)?,
            Forgery::BadSignature => {
                let first = if signature.starts_with('A') { 'B' } else { 'A' };
                format!("{header}.{claims}.{first}{}", signature.get(1..)?)
            }
        };
        Some(Some(token))
    }

    fn signed(&self, caller: &Caller, header: &Value, claims: &Value) -> Option<String> {
        let Self::Keys(keys) = self else { return None };
        let path = match caller {
            Caller::User { .. } => keys.directory.issuer_key(),
            Caller::Service(name) => keys.directory.service_key(name),
        };
        let key = EncodingKey::from_ed_pem(&fs::read(path).ok()?).ok()?;
        encode(&jose(Algorithm::EdDSA, header), claims, &key).ok()
    }

    /// Signed with the public key as if it were a shared secret.
    fn confused(&self, header: &Value, claims: &Value) -> Option<String> {
        let Self::Keys(keys) = self else { return None };
        let sets = [keys.directory.users(), keys.directory.services()];
        let public = sets.iter().find_map(|path| {
            let set: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
            let key = set["keys"].as_array()?.iter().find(|key| key["kid"] == header["kid"])?.clone();
            URL_SAFE_NO_PAD.decode(key["x"].as_str()?).ok()
        })?;
        encode(&jose(Algorithm::HS256, header), claims, &EncodingKey::from_secret(&public)).ok()
    }
}

fn jose(algorithm: Algorithm, like: &Value) -> Header {
    let text = |name: &str| like[name].as_str().map(str::to_owned);
    Header { typ: text("typ"), kid: text("kid"), ..Header::new(algorithm) }
}

fn read(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use mesh::identity::Verifier;

    use super::*;

    /// The forgeries are refused for what they are: each is a good token but for one thing.
    #[test]
    fn every_forgery_differs_from_a_good_token_in_one_thing() {
        let folder = tempfile::tempdir().expect("a folder");
        Issuer::create(folder.path(), &["listing", "reservation"]).expect("keys");
        let credentials = Credentials::keys(folder.path()).expect("keys");
        let verifier = Verifier::open(&KeyDirectory::new(folder.path()), "listing");
        let user = Caller::User { role: "host".to_owned(), subject: "hana".to_owned() };
        for caller in [user, Caller::Service("reservation".to_owned())] {
            let good = credentials.token(&caller, "listing").expect("a token");
            verifier.verify(&good).expect("good");
            for (forgery, why) in [
                (Forgery::Expired, "expired"),
                (Forgery::WrongAudience, "somebody else"),
                (Forgery::WrongIssuer, "another issuer"),
                (Forgery::AlgNone, "malformed"),
                (Forgery::KeyConfusion, "algorithm"),
                (Forgery::BadSignature, "signature"),
            ] {
                let token = credentials.forged(forgery, &caller, "listing").flatten().expect("a forgery");
                let refused = verifier.verify(&token).expect_err(forgery.name());
                assert!(refused.message().contains(why), "{}: {}", forgery.name(), refused.message());
            }
        }
    }
}
