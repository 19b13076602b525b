//! Stripe, through its PaymentIntents API.
//!
//! One request makes and confirms the intent, with the [`ChargeKey`] as `Idempotency-Key` and as `payment` in its metadata, so
//! that each attempt is an intent of its own: asked again, Stripe answers what it answered before. Stripe forgets keys after a day and repeats
//! even its own failures under the same key, so an old charge, or one whose answer is a repeated failure, is looked up by its metadata first.
//! Undoing needs the intent: when it is not known, the charge is asked again and then refunded (or cancelled, if it took nothing yet).
//!
//! Checked against two independent servers. `stripe-mock` (Stripe's own) checks every request against Stripe's published API description, but
//! keeps no state and declines nothing. `localstripe` keeps intents and refunds and declines cards, but knows neither idempotency keys nor
//! search. Neither shows Stripe's real idempotency, latency, rate limits or risk checks; that takes a Stripe test account.

mod wire;

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mesh::store::Micros;
use mesh::value::Currency;
use reqwest::header::{self, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

use self::wire::{ErrorAnswer, Intent, Refund, RefundList, SearchAnswer};
use super::{Charge, ChargeKey, Outcome, Provider, ProviderError};

/// The API version the requests and answers here are written for.
const VERSION: &str = "2025-09-30.clover";
/// Stripe keeps idempotency keys for at least 24 hours.
const KEY_LIFE: Duration = Duration::from_hours(23);

/// How to reach Stripe.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `https://api.stripe.com/` in earnest.
    pub url: Url,
    /// The secret key, `sk_…`.
    pub key: SecretString,
    /// For a whole request; connecting may take a quarter of it.
    pub timeout: Duration,
}

/// The adapter.
#[derive(Debug)]
pub struct Stripe {
    http: reqwest::Client,
    url: Url,
    authorization: HeaderValue,
}

/// The adapter cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Nothing can be asked for at such an address.
    #[error("Stripe's address has to begin with https:// or http://")]
    Address,
    /// No header can carry it.
    #[error("Stripe's key has characters that no key has")]
    Key,
    /// The HTTP client.
    #[error("the HTTP client for Stripe cannot be made")]
    Http(#[from] reqwest::Error),
}

/// What an error answer means.
enum Refusal {
    Declined(String),
    UnknownMethod,
    AlreadyRefunded,
    Error(ProviderError),
}

impl Stripe {
    /// An adapter with connections of its own. Nothing is sent yet.
    ///
    /// # Errors
    /// When the settings are not usable or the HTTP client cannot be made.
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        if !matches!(settings.url.scheme(), "http" | "https") {
            return Err(SetupError::Address);
        }
        let authorization = format!("Bearer {}", settings.key.expose_secret());
        let mut authorization = HeaderValue::try_from(authorization).map_err(|_| SetupError::Key)?;
        authorization.set_sensitive(true);
        let http = reqwest::Client::builder()
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout / 4)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, url: settings.url.clone(), authorization })
    }

    async fn take(&self, charge: &Charge) -> Result<Outcome, ProviderError> {
        if Micros::now().since(charge.since) > KEY_LIFE
            && let Some(intent) = self.search(charge).await?
        {
            return self.outcome(intent).await;
        }
        let Some(amount) = wire::amount(charge.amount) else { return Ok(declined("amount_not_supported")) };
        let form = wire::charge_form(charge, amount);
        let answer = self.post("v1/payment_intents", &charge.key.to_string()).form(&form).send().await.map_err(lost)?;
        if answer.status().is_server_error() && answer.headers().contains_key("idempotent-replayed") {
            let intent = self.search(charge).await?;
            return match intent {
                Some(intent) => self.outcome(intent).await,
                None => Err(ProviderError::OutcomeUnknown("Stripe failed and has no record of it yet".to_owned())),
            };
        }
        match read::<Intent>(answer).await {
            Ok(intent) => self.outcome(intent).await,
            Err(Refusal::Declined(code)) => Ok(declined(&code)),
            Err(Refusal::UnknownMethod) => Ok(Outcome::UnknownMethod),
            Err(Refusal::AlreadyRefunded) => Ok(declined("charge_already_refunded")),
            Err(Refusal::Error(error)) => Err(error),
        }
    }

    /// What an intent came to. An answer may be a repeated one, so what was not final then is read afresh.
    async fn outcome(&self, intent: Intent) -> Result<Outcome, ProviderError> {
        let intent = if intent.is_final() { intent } else { self.get(&intent.id).await? };
        match intent.status.as_str() {
            "succeeded" => Ok(Outcome::Approved { reference: intent.id }),
            "canceled" => Ok(declined("canceled")),
            "requires_payment_method" => Ok(declined(&intent.failure())),
            "processing" => Err(ProviderError::OutcomeUnknown("Stripe is still processing it".to_owned())),
            // The customer would have to act (3-D Secure), and is not here to do so.
            _ => {
                self.cancel(&intent.id).await?;
                Ok(declined("authentication_required"))
            }
        }
    }

    async fn get(&self, reference: &str) -> Result<Intent, ProviderError> {
        let answer =
            self.request(Method::GET, &format!("v1/payment_intents/{reference}")).send().await.map_err(lost)?;
        read(answer).await.map_err(unexpected)
    }

    async fn cancel(&self, reference: &str) -> Result<(), ProviderError> {
        let answer =
            self.request(Method::POST, &format!("v1/payment_intents/{reference}/cancel")).send().await.map_err(lost)?;
        read::<Intent>(answer).await.map(|_| ()).map_err(unexpected)
    }

    async fn search(&self, charge: &Charge) -> Result<Option<Intent>, ProviderError> {
        let query = format!("metadata['payment']:'{}'", charge.key);
        let request = self.request(Method::GET, "v1/payment_intents/search").query(&[("query", query.as_str())]);
        let found: SearchAnswer = read(request.send().await.map_err(lost)?).await.map_err(unexpected)?;
        Ok(found.data.into_iter().next())
    }

    async fn give_back(&self, charge: &Charge, reference: Option<&str>) -> Result<(), ProviderError> {
        let reference = match reference {
            Some(reference) => reference.to_owned(),
            None => match self.take(charge).await? {
                Outcome::Approved { reference } => reference,
                Outcome::Declined { .. } | Outcome::UnknownMethod => return Ok(()),
            },
        };
        let key = format!("{}-refund", charge.key);
        let form = [("payment_intent", reference), ("metadata[payment]", charge.key.to_string())];
        let answer = self.post("v1/refunds", &key).form(&form).send().await.map_err(lost)?;
        match read::<Refund>(answer).await {
            Ok(refund) if refund.is_accepted() => Ok(()),
            Ok(refund) => Err(ProviderError::Unavailable(format!("Stripe answered a refund with {}", refund.status))),
            Err(Refusal::AlreadyRefunded) => Ok(()),
            Err(refusal) => Err(unexpected(refusal)),
        }
    }

    /// By the intent and its refunds.
    async fn holds(&self, reference: &str, currency: Currency) -> Result<Option<i64>, ProviderError> {
        let intent = self.get(reference).await?;
        let request = self.request(Method::GET, "v1/refunds").query(&[("payment_intent", reference), ("limit", "100")]);
        let refunds: RefundList = read(request.send().await.map_err(lost)?).await.map_err(unexpected)?;
        let refunded: i64 = refunds.data.iter().filter(|refund| refund.is_accepted()).map(|refund| refund.amount).sum();
        let taken = if intent.status == "succeeded" { intent.amount } else { 0 };
        Ok(Some(wire::minor(taken - refunded, currency)))
    }

    fn post(&self, path: &str, idempotency_key: &str) -> RequestBuilder {
        self.request(Method::POST, path).header("idempotency-key", idempotency_key)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = self.url.join(path).expect("an http address and a path make an address");
        let request = self.http.request(method, url).header("stripe-version", VERSION);
        request.header(header::AUTHORIZATION, self.authorization.clone())
    }
}

impl Provider for Stripe {
    fn charge<'a>(&'a self, charge: &'a Charge) -> BoxFuture<'a, Result<Outcome, ProviderError>> {
        self.take(charge).boxed()
    }

    fn undo<'a>(&'a self, charge: &'a Charge, reference: Option<&'a str>) -> BoxFuture<'a, Result<(), ProviderError>> {
        self.give_back(charge, reference).boxed()
    }

    /// Without a reference it would have to be searched for, which Stripe does with a delay of up to a minute: then nothing is told.
    fn kept<'a>(
        &'a self,
        _key: ChargeKey,
        currency: Currency,
        reference: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<i64>, ProviderError>> {
        match reference {
            Some(reference) => self.holds(reference, currency).boxed(),
            None => std::future::ready(Ok(None)).boxed(),
        }
    }
}

fn declined(code: &str) -> Outcome {
    Outcome::Declined { code: code.to_owned() }
}

/// No answer. If the connection was never made nothing was taken, otherwise nobody knows.
fn lost(error: reqwest::Error) -> ProviderError {
    let error = error.without_url();
    if error.is_connect() {
        ProviderError::Unavailable(error.to_string())
    } else {
        ProviderError::OutcomeUnknown(error.to_string())
    }
}

async fn read<T: serde::de::DeserializeOwned>(answer: Response) -> Result<T, Refusal> {
    let status = answer.status();
    let body = answer.bytes().await.map_err(|error| Refusal::Error(lost(error)))?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| {
            Refusal::Error(ProviderError::OutcomeUnknown(format!("Stripe's answer cannot be read: {error}")))
        });
    }
    Err(refusal(status, &serde_json::from_slice::<ErrorAnswer>(&body).unwrap_or_default()))
}

/// Only what is certainly a refusal for good counts as one.
fn refusal(status: StatusCode, answer: &ErrorAnswer) -> Refusal {
    let error = &answer.error;
    let code = error.code.as_deref().unwrap_or_default();
    let unavailable = || {
        Refusal::Error(ProviderError::Unavailable(format!("Stripe answered {} {} {code}", status.as_u16(), error.kind)))
    };
    match (status.as_u16(), error.kind.as_str()) {
        (402, _) => Refusal::Declined(error.decline_code.clone().unwrap_or_else(|| code.to_owned())),
        (400, _) if code == "charge_already_refunded" => Refusal::AlreadyRefunded,
        // A charge names nothing but the payment method; older versions answer 404 and no code.
        (400, "invalid_request_error") if code == "resource_missing" => Refusal::UnknownMethod,
        (404, "invalid_request_error") => Refusal::UnknownMethod,
        (400, "invalid_request_error") => {
            Refusal::Declined(if code.is_empty() { "invalid_request".to_owned() } else { code.to_owned() })
        }
        (409 | 500.., _) => {
            Refusal::Error(ProviderError::OutcomeUnknown(format!("Stripe answered {} {code}", status.as_u16())))
        }
        // 401, 403: our key is wrong. 429: too many requests. 400 idempotency_error: a bug of ours. None of them is the customer's fault.
        _ => unavailable(),
    }
}

/// A refusal where only success makes sense: try again, and let the log tell why.
fn unexpected(refusal: Refusal) -> ProviderError {
    match refusal {
        Refusal::Error(error) => error,
        Refusal::Declined(code) => ProviderError::Unavailable(format!("Stripe refused: {code}")),
        Refusal::UnknownMethod => ProviderError::Unavailable("Stripe does not know the payment intent".to_owned()),
        Refusal::AlreadyRefunded => ProviderError::Unavailable("Stripe says it is refunded".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, expected: &str) {
        let answer = serde_json::from_str(body).unwrap_or_default();
        let found = match refusal(StatusCode::from_u16(status).expect("a status"), &answer) {
            Refusal::Declined(code) => format!("declined {code}"),
            Refusal::UnknownMethod => "unknown method".to_owned(),
            Refusal::AlreadyRefunded => "refunded".to_owned(),
            Refusal::Error(ProviderError::Unavailable(_)) => "unavailable".to_owned(),
            Refusal::Error(ProviderError::OutcomeUnknown(_)) => "unknown".to_owned(),
        };
        assert_eq!(found, expected, "{status} {body}");
    }

    #[test]
    fn only_a_certain_refusal_counts_as_one() {
        let card = r#"{"error":{"type":"card_error","code":"card_declined","decline_code":"insufficient_funds"}}"#;
        check(402, card, "declined insufficient_funds");
        check(402, r#"{"error":{"type":"card_error","code":"expired_card"}}"#, "declined expired_card");
        check(
            400,
            r#"{"error":{"type":"invalid_request_error","code":"amount_too_small"}}"#,
            "declined amount_too_small",
        );
        check(400, r#"{"error":{"type":"invalid_request_error","code":"resource_missing"}}"#, "unknown method");
        check(400, r#"{"error":{"type":"invalid_request_error","code":"charge_already_refunded"}}"#, "refunded");
        check(400, r#"{"error":{"type":"idempotency_error"}}"#, "unavailable");
        check(401, r#"{"error":{"type":"invalid_request_error"}}"#, "unavailable");
        check(404, "<html>no such page</html>", "unavailable");
        check(409, r#"{"error":{"type":"invalid_request_error","code":"idempotency_key_in_use"}}"#, "unknown");
        check(429, r#"{"error":{"type":"invalid_request_error","code":"rate_limit"}}"#, "unavailable");
        check(500, r#"{"error":{"type":"api_error"}}"#, "unknown");
        check(503, "", "unknown");
    }

    #[test]
    fn money_is_written_the_way_stripe_counts_it() {
        use mesh::value::{Currency, Money};
        let check = |code: &str, minor: i64, expected: Option<i64>| {
            let money = Money::from_minor(minor, Currency::from_code(code).expect("a currency"));
            assert_eq!(wire::amount(money), expected, "{code} {minor}");
            if let Some(amount) = expected {
                assert_eq!(wire::minor(amount, money.currency()), minor, "{code} {amount}");
            }
        };
        check("KRW", 38_000, Some(38_000));
        check("EUR", 1_234, Some(1_234));
        check("ISK", 500, Some(50_000));
        check("UGX", 500, Some(50_000));
        check("KWD", 1_230, Some(1_230));
        check("KWD", 1_234, None);
        check("MGA", 500, Some(5));
        check("MGA", 510, None);
    }
}
