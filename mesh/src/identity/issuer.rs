//! The local issuer: keys and user tokens for a developer's computer. A deployment uses its own issuer and key files instead.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use proto::contract::Role;
use serde::Serialize;
use serde_json::{Value, json};

use super::{AUDIENCE, ISSUER, KeyDirectory, USER_TOKEN_TYPE};

/// Makes and keeps the keys of a local mesh and signs user tokens.
pub struct Issuer {
    keys: KeyDirectory,
    header: Header,
    key: EncodingKey,
}

/// A key or key file is not usable.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// A file cannot be read or written.
    #[error("cannot use the key file {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold an Ed25519 private key.
    #[error("{} is not an Ed25519 private key in PEM", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        source: jsonwebtoken::errors::Error,
    },
    /// The computer refuses to make keys.
    #[error("cannot make a key")]
    Generate,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
    roles: &'a [&'a str],
}

impl Issuer {
    /// Makes fresh keys for the issuer and for each service, replacing what is in `dir`: older tokens are worth nothing afterwards.
    /// Running processes notice within a second.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn create(dir: impl AsRef<Path>, services: &[&str]) -> Result<Self, IssuerError> {
        let keys = KeyDirectory::new(dir.as_ref());
        fs::create_dir_all(keys.path()).map_err(|source| IssuerError::File { path: keys.path().to_owned(), source })?;
        let mut public = Vec::new();
        for service in services {
            let fresh = FreshKey::generate()?;
            write(&keys, &keys.service_key(service), fresh.pem.as_bytes(), true)?;
            public.push(fresh.jwk(service));
        }
        write_set(&keys, &keys.services(), &public)?;
        Self::renew(&keys, &[])?;
        Self::open(dir)
    }

    /// Uses the keys that are in `dir`.
    ///
    /// # Errors
    /// The issuer's key is missing or broken.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, IssuerError> {
        let keys = KeyDirectory::new(dir.as_ref());
        let path = keys.issuer_key();
        let pem = fs::read(&path).map_err(|source| IssuerError::File { path: path.clone(), source })?;
        let pair = pem_content(&pem).and_then(|der| Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok());
        let key = EncodingKey::from_ed_pem(&pem).map_err(|source| IssuerError::Key { path: path.clone(), source })?;
        let Some(pair) = pair else {
            return Err(IssuerError::Key { path, source: jsonwebtoken::errors::ErrorKind::InvalidKeyFormat.into() });
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(USER_TOKEN_TYPE.to_owned());
        header.kid = Some(key_id(pair.public_key().as_ref()));
        Ok(Self { keys, header, key })
    }

    /// Signs with a new key from now on; tokens made with the key used until now stay valid.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn rotate(&mut self) -> Result<(), IssuerError> {
        let path = self.keys.users();
        let content = fs::read(&path).map_err(|source| IssuerError::File { path: path.clone(), source })?;
        let set: Value = serde_json::from_slice(&content)
            .map_err(|error| IssuerError::File { path, source: io::Error::new(io::ErrorKind::InvalidData, error) })?;
        let current: Vec<Value> = set["keys"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|key| key["kid"].as_str() == self.header.kid.as_deref())
            .cloned()
            .collect();
        Self::renew(&self.keys, &current)?;
        *self = Self::open(self.keys.path())?;
        Ok(())
    }

    /// A token for a person. `ttl` in whole seconds.
    #[must_use]
    pub fn token(&self, subject: &str, roles: &[Role], ttl: Duration) -> String {
        let now = get_current_timestamp();
        let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        let claims = Claims {
            iss: ISSUER,
            sub: subject,
            aud: AUDIENCE,
            iat: now,
            nbf: now,
            exp: now + ttl.as_secs(),
            jti: format!("{:032x}", rand::random::<u128>()),
            roles: &roles,
        };
        encode(&self.header, &claims, &self.key).expect("the key was checked when it was read")
    }

    /// The public keys are published first: a token is never signed with a key that nobody can know.
    fn renew(keys: &KeyDirectory, also_valid: &[Value]) -> Result<(), IssuerError> {
        let fresh = FreshKey::generate()?;
        let mut public = vec![fresh.jwk(&key_id(&fresh.public))];
        public.extend_from_slice(also_valid);
        write_set(keys, &keys.users(), &public)?;
        write(keys, &keys.issuer_key(), fresh.pem.as_bytes(), true)
    }
}

struct FreshKey {
    pem: String,
    public: Vec<u8>,
}

impl FreshKey {
    fn generate() -> Result<Self, IssuerError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| IssuerError::Generate)?;
        let der = pair.to_pkcs8v1().map_err(|_| IssuerError::Generate)?;
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
        Ok(Self { pem, public: pair.public_key().as_ref().to_vec() })
    }

    fn jwk(&self, kid: &str) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": URL_SAFE_NO_PAD.encode(&self.public) })
    }
}

fn pem_content(pem: &[u8]) -> Option<Vec<u8>> {
    let text: String = std::str::from_utf8(pem).ok()?.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(text).ok()
}

/// The key names itself: RFC 7638 style, from the public key alone.
fn key_id(public: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(&aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, public).as_ref()[..12])
}

fn write_set(keys: &KeyDirectory, path: &Path, public: &[Value]) -> Result<(), IssuerError> {
    write(keys, path, json!({ "keys": public }).to_string().as_bytes(), false)
}

fn write(keys: &KeyDirectory, path: &Path, content: &[u8], private: bool) -> Result<(), IssuerError> {
    let written = if private { keys.write_private(path, content) } else { keys.write_public(path, content) };
    written.map_err(|source| IssuerError::File { path: path.to_owned(), source })
}
