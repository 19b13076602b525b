//! Command-line groups that the services have in common. Every option can come from the environment instead.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::bus::StreamLimits;
use crate::client::{CallSettings, InjectedFault};
use crate::identity::{IssuerError, KeyDirectory, ServiceIdentity, Verifier};
use crate::server::{Age, Drain, Limits, Rates};
use crate::store::DatabaseUrl;
use crate::tls::{Tls, TlsError};

/// Whose tokens count, and who we are.
#[derive(Args, Clone, Debug)]
pub struct IdentityArgs {
    /// Folder of keys: users.jwks.json, services.jwks.json, and SERVICE.key.pem
    #[arg(long, env = "HOLDFAST_KEYS_DIR", default_value = ".holdfast/keys")]
    pub keys_dir: PathBuf,
    /// Issuer of user tokens (their "iss")
    #[arg(long, env = "HOLDFAST_ISSUER", default_value = crate::identity::ISSUER)]
    pub issuer: String,
    /// Folder of ca.crt, tls.crt and tls.key: services prove themselves to each other with TLS [default: without, as behind a mesh proxy]
    #[arg(long, env = "HOLDFAST_TLS_DIR")]
    pub tls_dir: Option<PathBuf>,
}

impl IdentityArgs {
    /// The folder.
    #[must_use]
    pub fn keys(&self) -> KeyDirectory {
        KeyDirectory::new(&self.keys_dir)
    }

    /// Checks the callers of `service`.
    #[must_use]
    pub fn verifier(&self, service: &str) -> Verifier {
        Verifier::with_issuer(&self.keys(), service, &self.issuer)
    }

    /// Signs in the name of `service`.
    ///
    /// # Errors
    /// Its key is missing or broken.
    pub fn identity(&self, service: &str) -> Result<ServiceIdentity, IssuerError> {
        ServiceIdentity::open(&self.keys(), service)
    }

    /// This process's certificate, if it is to have one.
    ///
    /// # Errors
    /// The files are not usable.
    pub fn tls(&self) -> Result<Option<Tls>, TlsError> {
        self.tls_dir.as_deref().map(Tls::open).transpose()
    }
}

/// Where a service keeps its rows.
#[derive(Args, Clone, Debug)]
pub struct DataArgs {
    /// Folder of the SQLite files, one per service
    #[arg(long, env = "HOLDFAST_DATA_DIR", default_value = ".holdfast/data")]
    pub data_dir: PathBuf,
    /// Database instead: postgres://… (all services, a schema each) or sqlite:PATH (one service, one process)
    #[arg(long, env = "HOLDFAST_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<DatabaseUrl>,
}

impl DataArgs {
    /// The database of `service`.
    #[must_use]
    pub fn database(&self, service: &str) -> DatabaseUrl {
        let file = || DatabaseUrl::Sqlite(self.data_dir.join(format!("{service}.db")));
        self.database_url.clone().unwrap_or_else(file)
    }
}

/// The event bus.
#[derive(Args, Clone, Debug)]
pub struct BusArgs {
    /// NATS server with JetStream; several of a cluster with commas between
    #[arg(long, env = "NATS_URL", default_value = "nats://127.0.0.1:7422")]
    pub nats_url: String,
    /// Servers that keep a copy of each event [default: as the stream has it; 1 for a new one]
    #[arg(long, env = "HOLDFAST_STREAM_REPLICAS", value_parser = replicas)]
    pub stream_replicas: Option<usize>,
    /// Days that streams keep events [default: as the stream has it; 30 for a new one]
    #[arg(long, env = "HOLDFAST_STREAM_DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub stream_days: Option<u32>,
}

impl BusArgs {
    /// At this address, with streams as they are.
    #[must_use]
    pub fn at(nats_url: String) -> Self {
        Self { nats_url, stream_replicas: None, stream_days: None }
    }

    /// As the streams take them.
    #[must_use]
    pub fn limits(&self) -> StreamLimits {
        StreamLimits {
            replicas: self.stream_replicas,
            max_age: self.stream_days.map(|days| Duration::from_hours(u64::from(days) * 24)),
        }
    }
}

/// An even number of servers survives no more failures than one fewer.
fn replicas(text: &str) -> Result<usize, &'static str> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("expected 1, 3 or 5"),
    }
}

/// How other services are called.
#[derive(Args, Clone, Debug, Default)]
pub struct CallArgs {
    /// Call other services whatever trouble they are in: without a circuit breaker
    #[arg(long, env = "HOLDFAST_NO_BREAKER")]
    pub no_breaker: bool,
    /// Make each call to another service once, whatever becomes of it
    #[arg(long, env = "HOLDFAST_NO_RETRY")]
    pub no_retry: bool,
    /// Calls to one other service at once; more are refused [default: 1024]
    #[arg(long, env = "HOLDFAST_CALLS_LIMIT", value_name = "CALLS")]
    pub calls_limit: Option<NonZeroUsize>,
    /// Put faults into calls to other services, e.g. payment/ChargePayment=abort:UNAVAILABLE@30%, payment=delay:0ms..1s#7, mileage=hang@5%;
    /// several with commas between
    #[arg(
        long,
        env = "HOLDFAST_INJECT",
        value_name = "CALLEE[/METHOD]=FAULT[@PERCENT%][#SEED]",
        value_delimiter = ','
    )]
    pub inject: Vec<InjectedFault>,
}

impl CallArgs {
    /// As the channels take it.
    #[must_use]
    pub fn settings(&self) -> CallSettings {
        let default = CallSettings::default();
        CallSettings {
            breaker: default.breaker.filter(|_| !self.no_breaker),
            retry: default.retry.filter(|_| !self.no_retry),
            limit: self.calls_limit.map(NonZeroUsize::get).or(default.limit),
            faults: self.inject.clone(),
        }
    }
}

/// How much a server takes.
#[derive(Args, Clone, Copy, Debug)]
pub struct LimitArgs {
    /// Calls in progress at most; more are refused with UNAVAILABLE
    #[arg(long, env = "HOLDFAST_CALLS_MAX", default_value_t = Limits::default().calls, value_parser = calls)]
    pub calls_max: usize,
    /// Take so many calls however long they wait inside, instead of fewer while they wait too long
    #[arg(long, env = "HOLDFAST_FIXED_LIMIT")]
    pub fixed_limit: bool,
    /// Commands a second that one user may give to one service [default: no limit]
    #[arg(long, env = "HOLDFAST_COMMAND_RATE")]
    pub command_rate: Option<NonZeroU32>,
    /// Reads a second that one user may make of one service [default: no limit]
    #[arg(long, env = "HOLDFAST_READ_RATE")]
    pub read_rate: Option<NonZeroU32>,
    /// Seconds after which a connection is replaced, give or take a tenth; 0 for never
    #[arg(long, env = "HOLDFAST_CONNECTION_AGE_S", default_value_t = Age::default().limit.as_secs())]
    pub connection_age_s: u64,
    /// Seconds that calls on an old connection have to end before it is cut
    #[arg(long, env = "HOLDFAST_CONNECTION_GRACE_S", default_value_t = Age::default().grace.as_secs())]
    pub connection_grace_s: u64,
}

impl Default for LimitArgs {
    fn default() -> Self {
        let age = Age::default();
        Self {
            calls_max: Limits::default().calls,
            fixed_limit: false,
            command_rate: None,
            read_rate: None,
            connection_age_s: age.limit.as_secs(),
            connection_grace_s: age.grace.as_secs(),
        }
    }
}

impl LimitArgs {
    /// As the server takes it.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let age = Age {
            limit: Duration::from_secs(self.connection_age_s),
            grace: Duration::from_secs(self.connection_grace_s),
        };
        Limits {
            calls: self.calls_max,
            adaptive: !self.fixed_limit,
            age: Limits::default().age.filter(|_| !age.limit.is_zero()).and(Some(age)),
            rates: Rates { commands: self.command_rate, reads: self.read_rate },
            ..Limits::default()
        }
    }
}

/// No more than may be open on one connection: a gateway has only one.
fn calls(text: &str) -> Result<usize, String> {
    let most = usize::try_from(Limits::default().streams_per_connection).unwrap_or(usize::MAX);
    match text.parse() {
        Ok(calls) if (1..=most).contains(&calls) => Ok(calls),
        _ => Err(format!("expected a number from 1 to {most}")),
    }
}

/// How a server ends.
#[derive(Args, Clone, Debug)]
pub struct DrainArgs {
    /// Milliseconds to serve on after the signal, while health says NOT_SERVING
    #[arg(long, env = "HOLDFAST_LAME_DUCK_MS", default_value_t = 0)]
    pub lame_duck_ms: u64,
    /// Milliseconds that calls in progress may then take to finish
    #[arg(long, env = "HOLDFAST_DRAIN_LIMIT_MS", default_value_t = 20_000)]
    pub drain_limit_ms: u64,
    /// Cancelled when the end must not take its time any more: a second signal.
    #[arg(skip)]
    pub hurry: CancellationToken,
}

impl DrainArgs {
    /// As the server takes it.
    #[must_use]
    pub fn drain(&self) -> Drain {
        Drain { lame_duck: Duration::from_millis(self.lame_duck_ms), limit: Duration::from_millis(self.drain_limit_ms) }
    }
}

/// How a server says that it is alive.
#[derive(Args, Clone, Debug, Default)]
pub struct HealthArgs {
    /// File that is made at the start; while it is gone, health "liveness" says NOT_SERVING
    #[arg(long, env = "HOLDFAST_HEALTH_FILE")]
    pub health_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        calls: CallArgs,
    }

    #[test]
    fn what_protects_callees_is_on_unless_switched_off_and_faults_are_off() {
        let settings = |arguments: &[&str]| Options::parse_from(arguments).calls.settings();
        let default = CallSettings::default();
        assert_eq!(settings(&["holdfast"]), default);
        assert!(default.breaker.is_some() && default.retry.is_some() && default.faults.is_empty());
        assert_eq!(settings(&["holdfast", "--no-breaker"]), CallSettings { breaker: None, ..default.clone() });
        assert_eq!(settings(&["holdfast", "--no-retry"]), CallSettings { retry: None, ..default.clone() });
        assert_eq!(settings(&["holdfast", "--calls-limit", "7"]), CallSettings { limit: Some(7), ..default.clone() });
        let faults: Vec<InjectedFault> = vec!["payment=hang@5%".parse().unwrap(), "mileage=hang".parse().unwrap()];
        let inject = ["holdfast", "--inject", "payment=hang@5%,mileage=hang"];
        assert_eq!(settings(&inject), CallSettings { faults, ..default });
        assert!(Options::try_parse_from(["holdfast", "--inject", "payment=explode"]).is_err());
    }
}
