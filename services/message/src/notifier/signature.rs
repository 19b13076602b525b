//! Signatures of [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
//!
//! What is signed is `{id}.{timestamp}.{body}`: neither can be changed, nor a delivery sent again after the receiver's tolerance, without
//! the receiver noticing.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const PREFIX: &str = "whsec_";
/// The bytes of a secret, by the specification.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The secrets of a webhook, at least one. While a receiver changes from one to the next there are two, and each signs.
#[derive(Clone)]
pub struct WebhookSecrets(Vec<hmac::Key>);

/// The text holds no secrets, or an unusable one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret is whsec_ and 24 to 64 bytes in base64; several are separated by a space")]
pub struct InvalidWebhookSecret;

impl FromStr for WebhookSecrets {
    type Err = InvalidWebhookSecret;

    fn from_str(text: &str) -> Result<Self, InvalidWebhookSecret> {
        let keys = text.split_ascii_whitespace().map(key).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(InvalidWebhookSecret) } else { Ok(Self(keys)) }
    }
}

fn key(secret: &str) -> Result<hmac::Key, InvalidWebhookSecret> {
    let encoded = secret.strip_prefix(PREFIX).ok_or(InvalidWebhookSecret)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| InvalidWebhookSecret)?;
    if !SECRET_BYTES.contains(&bytes.len()) {
        return Err(InvalidWebhookSecret);
    }
    Ok(hmac::Key::new(HMAC_SHA256, &bytes))
}

impl fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookSecrets({})", self.0.len())
    }
}

impl WebhookSecrets {
    /// The value of `webhook-signature`: a signature with each secret, separated by spaces.
    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let signatures: Vec<_> = self.0.iter().map(|key| sign(key, id, timestamp, body)).collect();
        signatures.join(" ")
    }
}

fn sign(key: &hmac::Key, id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut signed = hmac::Context::with_key(key);
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        signed.update(part);
    }
    format!("v1,{}", STANDARD.encode(signed.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret, message and signature that the specification's own libraries are tested with.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let secrets: WebhookSecrets = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().expect("a secret");
        let signature = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_signs() {
        let [old, new] = [24, 64].map(|bytes| format!("whsec_{}", STANDARD.encode(vec![7; bytes])));
        let sign = |secrets: &str| secrets.parse::<WebhookSecrets>().expect("secrets").sign("id", "1", b"{}");
        assert_eq!(sign(&format!("{new} {old}")), format!("{} {}", sign(&new), sign(&old)));
    }

    #[test]
    fn what_is_no_secret_is_refused_and_what_is_one_is_not_shown() {
        let secret = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for text in ["", " ", "whsec_", "secret", "whsec_%%%", &secret(23), &secret(65), &secret(32)[6..]] {
            assert_eq!(text.parse::<WebhookSecrets>().expect_err(text), InvalidWebhookSecret, "{text}");
        }
        assert!(format!("{} x", secret(32)).parse::<WebhookSecrets>().is_err());
        let secrets: WebhookSecrets = format!("{} {}", secret(24), secret(64)).parse().expect("secrets");
        assert_eq!(format!("{secrets:?}"), "WebhookSecrets(2)");
    }
}
