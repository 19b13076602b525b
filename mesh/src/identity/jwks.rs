//! Public keys in a JWKS file (RFC 7517), read again when the file's content changes.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey};

/// How stale the keys may be.
const POLL: Duration = Duration::from_secs(1);
/// An unknown key id looks at the file at once, for the key may have been published this moment; a flood of them only this often per [`POLL`].
const EAGER_LOOKS: u32 = 10;

/// A public key and the one algorithm it may be used with. The token's header has no say in that.
pub(super) struct VerifyingKey {
    pub(super) key: DecodingKey,
    pub(super) algorithm: Algorithm,
}

/// The keys of one file, by key id.
pub(super) struct KeySet {
    path: PathBuf,
    content: Vec<u8>,
    keys: HashMap<String, VerifyingKey>,
    looked: Option<Instant>,
    eager_looks: u32,
}

impl KeySet {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, content: Vec::new(), keys: HashMap::new(), looked: None, eager_looks: 0 }
    }

    /// Looks at the file if that was long enough ago; answers whether the keys have changed.
    pub(super) fn refresh(&mut self) -> bool {
        if self.looked.is_some_and(|looked| looked.elapsed() < POLL) {
            return false;
        }
        self.looked = Some(Instant::now());
        self.eager_looks = 0;
        self.look()
    }

    pub(super) fn find(&self, kid: &str) -> Option<&VerifyingKey> {
        self.keys.get(kid)
    }

    /// As [`refresh`](Self::refresh), for a key id that is not there.
    pub(super) fn refresh_eagerly(&mut self) -> bool {
        if self.eager_looks >= EAGER_LOOKS {
            return false;
        }
        self.eager_looks += 1;
        self.look()
    }

    /// A file that is missing or broken leaves the keys as they are: whoever replaces it may not be done.
    fn look(&mut self) -> bool {
        let content = match fs::read(&self.path) {
            Ok(content) if content == self.content => return false,
            Ok(content) => content,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the public keys cannot be read");
                return false;
            }
        };
        match serde_json::from_slice::<JwkSet>(&content) {
            Ok(set) => {
                self.keys = set.keys.iter().filter_map(usable).collect();
                self.content = content;
                tracing::info!(path = %self.path.display(), keys = self.keys.len(), "public keys loaded");
                true
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the public keys cannot be understood");
                false
            }
        }
    }
}

/// Only Ed25519 and P-256 signatures are accepted; a key of another kind, or without an id, is as good as absent.
fn usable(jwk: &Jwk) -> Option<(String, VerifyingKey)> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P256 => Algorithm::ES256,
        _ => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some((jwk.common.key_id.clone()?, VerifyingKey { key, algorithm }))
}
