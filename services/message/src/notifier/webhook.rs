//! Delivery by HTTP: each message is a POST of a CloudEvent in structured JSON mode.
//!
//! Each is signed by [Standard Webhooks](https://www.standardwebhooks.com): `webhook-id` is the message's id, the same in every try,
//! `webhook-timestamp` the time of the try. Any 2xx answer means delivered and 410 that nobody wants it; anything else, and no answer, is
//! tried again later. Redirects are not followed and proxies not used: the address that was checked is the address that is reached.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::header::CONTENT_TYPE;
use mesh::store::Micros;
use reqwest::{Client, Url, redirect};
use serde::Serialize;

use super::address::{PublicOnly, is_public};
use super::signature::WebhookSecrets;
use super::{Content, DeliveryError, Notifier, Outcome};
use crate::domain::Message;

/// Requests at once.
const CONCURRENCY: usize = 32;
const BATCH: usize = 2 * CONCURRENCY;
const WEBHOOK_ID: &str = "webhook-id";
const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
const WEBHOOK_SIGNATURE: &str = "webhook-signature";
const CLOUD_EVENT: &str = "application/cloudevents+json";

/// Where to send messages. It may hold a secret, so it shows no more than the host.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

/// The text is no webhook URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an http:// or https:// URL with a host")]
pub struct InvalidWebhookUrl;

impl FromStr for WebhookUrl {
    type Err = InvalidWebhookUrl;

    fn from_str(text: &str) -> Result<Self, InvalidWebhookUrl> {
        let url = Url::parse(text).map_err(|_| InvalidWebhookUrl)?;
        if matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(Self(url)) } else { Err(InvalidWebhookUrl) }
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/…", self.0.scheme(), self.0.host_str().unwrap_or_default())
    }
}

/// How to reach the webhook.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Where.
    pub url: WebhookUrl,
    /// What proves to the receiver who sent it.
    pub secrets: WebhookSecrets,
    /// For one request, from connecting to the end of the answer's head.
    pub timeout: Duration,
    /// Whether addresses inside a network, loopback included, may be reached.
    pub allow_private: bool,
}

/// Why there can be no such webhook.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The URL's host is an address inside a network.
    #[error("the webhook's address {0} is not public; allow private addresses if that is meant")]
    Private(IpAddr),
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
}

/// Posts messages to a webhook.
#[derive(Clone, Debug)]
pub struct WebhookNotifier {
    client: Client,
    settings: WebhookSettings,
}

impl WebhookNotifier {
    /// Sets up the client; reaches nothing yet.
    ///
    /// # Errors
    /// A private address that is not allowed, or no usable TLS.
    pub fn new(settings: WebhookSettings) -> Result<Self, WebhookError> {
        let mut client = Client::builder()
            .timeout(settings.timeout)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(CONCURRENCY)
            .user_agent(concat!("holdfast-message/", env!("CARGO_PKG_VERSION")));
        if !settings.allow_private {
            // An address written out in the URL is never resolved, so it is judged here.
            if let Some(address) = literal_address(&settings.url.0).filter(|address| !is_public(*address)) {
                return Err(WebhookError::Private(address));
            }
            client = client.dns_resolver(PublicOnly);
        }
        Ok(Self { client: client.build().map_err(WebhookError::Client)?, settings })
    }

    async fn post(&self, body: Vec<u8>, id: String) -> Outcome {
        // In whole seconds, and taken anew in each try.
        let timestamp = Micros::now().0.div_euclid(1_000_000).to_string();
        let request = self
            .client
            .post(self.settings.url.0.clone())
            .header(CONTENT_TYPE, CLOUD_EVENT)
            .header(WEBHOOK_SIGNATURE, self.settings.secrets.sign(&id, &timestamp, &body))
            .header(WEBHOOK_ID, id)
            .header(WEBHOOK_TIMESTAMP, timestamp)
            .body(body);
        // The URL may be a secret and errors are logged.
        let answer = request.send().await.map_err(|error| DeliveryError::NoAnswer(Arc::new(error.without_url())))?;
        if answer.status().is_success() { Ok(()) } else { Err(DeliveryError::Refused(answer.status().as_u16())) }
    }
}

fn literal_address(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

impl Notifier for WebhookNotifier {
    fn batch_size(&self) -> usize {
        BATCH
    }

    fn time_limit(&self) -> Duration {
        let rounds = u32::try_from(BATCH.div_ceil(CONCURRENCY)).expect("a few");
        self.settings.timeout * rounds
    }

    fn deliver<'a>(&'a self, batch: &'a [Message]) -> BoxFuture<'a, Vec<Outcome>> {
        let requests: Vec<_> = batch.iter().map(|message| self.post(body(message), message.id.to_string())).collect();
        stream::iter(requests).buffered(CONCURRENCY).collect().boxed()
    }
}

/// A CloudEvent 1.0 in structured mode.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: String,
    time: String,
    datacontenttype: &'static str,
    correlationid: String,
    data: Content<'a>,
}

fn body(message: &Message) -> Vec<u8> {
    let data = Content::of(message);
    let event = CloudEvent {
        specversion: "1.0",
        id: message.id.to_string(),
        source: "//holdfast/message",
        kind: "holdfast.message.v1.Message",
        subject: data.name.clone(),
        time: data.create_time.clone(),
        datacontenttype: "application/json",
        correlationid: message.reservation.to_string(),
        data,
    };
    serde_json::to_vec(&event).expect("text and numbers are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str, allow_private: bool) -> WebhookSettings {
        WebhookSettings {
            url: url.parse().expect("a URL"),
            secrets: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().expect("a secret"),
            timeout: Duration::from_secs(1),
            allow_private,
        }
    }

    #[test]
    fn private_addresses_are_refused_unless_allowed() {
        for url in [
            "http://127.0.0.1:1/",
            "https://10.0.0.7/hook",
            "http://[::1]/",
            "http://2130706433/",
            "http://[::ffff:192.168.0.1]/",
        ] {
            assert!(matches!(WebhookNotifier::new(settings(url, false)), Err(WebhookError::Private(_))), "{url}");
            assert!(WebhookNotifier::new(settings(url, true)).is_ok(), "{url}");
        }
        assert!(WebhookNotifier::new(settings("https://1.1.1.1/", false)).is_ok());
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_when_connecting() {
        let webhook = WebhookNotifier::new(settings("http://localhost:1/", false)).expect("names are judged later");
        let error = webhook.post(Vec::new(), String::new()).await.expect_err("refused");
        let reason = mesh::fault::Chain(&error).to_string();
        assert!(reason.contains("no public address"), "{reason}");
    }

    #[test]
    fn a_url_does_not_show_its_secret() {
        let url: WebhookUrl = "https://user:password@example.com/secret?token=x".parse().expect("a URL");
        assert_eq!(format!("{url:?}"), "https://example.com/…");
        for text in ["", "example.com", "ftp://example.com/", "file:///etc/passwd"] {
            assert_eq!(text.parse::<WebhookUrl>(), Err(InvalidWebhookUrl), "{text}");
        }
    }
}
