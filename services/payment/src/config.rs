//! What can be set, with environment names and defaults.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mesh::client::Address;
use mesh::config::DataArgs;
use reqwest::Url;
use secrecy::SecretString;

use crate::log::{self, PaymentLog};
use crate::provider::Provider;
use crate::provider::simulator::{self, Simulator};
use crate::provider::stripe::{self, Stripe};

/// Who moves the money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProviderKind {
    /// Nobody: the simulator keeps books.
    Simulator,
    /// Stripe.
    Stripe,
}

/// Payment's settings.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Config {
    /// Address to listen on
    #[arg(long, env = "HOLDFAST_PAYMENT_LISTEN", default_value = "127.0.0.1:7403")]
    pub payment_listen: SocketAddr,
    /// Where mileage listens: a host or a name of several, or a list with commas
    #[arg(long, env = "HOLDFAST_MILEAGE_URL", default_value = "http://127.0.0.1:7404")]
    pub mileage_url: Address,
    /// Milliseconds that mileage may take to earn a payment's miles
    #[arg(long, env = "HOLDFAST_PAYMENT_MILEAGE_TIMEOUT_MS", default_value_t = 300)]
    pub payment_mileage_timeout_ms: u64,
    /// Who moves the money
    #[arg(long, env = "HOLDFAST_PAYMENT_PROVIDER", value_enum, default_value_t = ProviderKind::Simulator)]
    pub payment_provider: ProviderKind,
    /// Milliseconds from one part of the background check of the ledger to the next; 0 switches it off
    #[arg(long, env = "HOLDFAST_PAYMENT_RECONCILE_EVERY_MS", default_value_t = 60_000)]
    pub payment_reconcile_every_ms: u64,
    /// Folder of the payment log: a line of JSON for each approved, declined or cancelled payment, in a file of this process's own; off
    /// unless given. Replicas may share the folder
    #[arg(long, env = "HOLDFAST_PAYMENT_LOG", value_name = "DIR")]
    pub payment_log: Option<PathBuf>,
    /// The simulator's books; payment-simulator.jsonl in the data folder unless told otherwise
    #[arg(long, env = "HOLDFAST_PAYMENT_SIMULATOR_LEDGER")]
    pub payment_simulator_ledger: Option<PathBuf>,
    /// Each call of the simulator takes at random up to so many milliseconds; 1000 makes a provider that takes 0 to 1000 ms
    #[arg(long, env = "HOLDFAST_PAYMENT_SIMULATOR_MAX_LATENCY_MS", default_value_t = 0)]
    pub payment_simulator_max_latency_ms: u64,
    /// Seed of the simulator's latencies: the n-th call of each run with the same seed takes equally long
    #[arg(long, env = "HOLDFAST_PAYMENT_SIMULATOR_SEED", default_value_t = 0)]
    pub payment_simulator_seed: u64,
    /// Stripe's address
    #[arg(long, env = "HOLDFAST_PAYMENT_STRIPE_URL", default_value = "https://api.stripe.com/")]
    pub payment_stripe_url: Url,
    /// Stripe's secret key. Prefer the environment or a file: arguments can be seen by other users
    #[arg(
        long,
        env = "HOLDFAST_PAYMENT_STRIPE_KEY",
        hide_env_values = true,
        conflicts_with = "payment_stripe_key_file"
    )]
    pub payment_stripe_key: Option<SecretString>,
    /// File with Stripe's secret key
    #[arg(long, env = "HOLDFAST_PAYMENT_STRIPE_KEY_FILE")]
    pub payment_stripe_key_file: Option<PathBuf>,
    /// Milliseconds that one request to Stripe may take
    #[arg(long, env = "HOLDFAST_PAYMENT_STRIPE_TIMEOUT_MS", default_value_t = 10_000)]
    pub payment_stripe_timeout_ms: u64,
}

/// The provider cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ProviderSetupError {
    /// The simulator's books.
    #[error("the payment simulator cannot open {}", .path.display())]
    Ledger {
        /// Where they are.
        path: PathBuf,
        /// Why not.
        source: simulator::LedgerError,
    },
    /// No key.
    #[error("Stripe needs a secret key: set HOLDFAST_PAYMENT_STRIPE_KEY or HOLDFAST_PAYMENT_STRIPE_KEY_FILE")]
    NoKey,
    /// The key's file.
    #[error("the file with Stripe's key cannot be read: {}", .path.display())]
    KeyFile {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The adapter.
    #[error("Stripe cannot be used")]
    Stripe(#[from] stripe::SetupError),
}

/// The payment log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the payment log cannot be opened in {}", .folder.display())]
pub struct LogSetupError {
    /// Where it was to be.
    folder: PathBuf,
    /// Why not.
    source: io::Error,
}

impl Config {
    /// Where the simulator keeps its books: [`Ledger::read`](simulator::Ledger::read) them there.
    #[must_use]
    pub fn ledger(&self, data: &DataArgs) -> PathBuf {
        self.payment_simulator_ledger.clone().unwrap_or_else(|| data.data_dir.join("payment-simulator.jsonl"))
    }

    pub(crate) fn mileage_timeout(&self) -> Duration {
        Duration::from_millis(self.payment_mileage_timeout_ms)
    }

    pub(crate) fn reconcile_every(&self) -> Duration {
        Duration::from_millis(self.payment_reconcile_every_ms)
    }

    pub(crate) fn provider(&self, data: &DataArgs) -> Result<Arc<dyn Provider>, ProviderSetupError> {
        match self.payment_provider {
            ProviderKind::Simulator => {
                let settings = simulator::Settings {
                    ledger: self.ledger(data),
                    max_latency: Duration::from_millis(self.payment_simulator_max_latency_ms),
                    seed: self.payment_simulator_seed,
                };
                let path = settings.ledger.clone();
                let simulator =
                    Simulator::open(&settings).map_err(|source| ProviderSetupError::Ledger { path, source })?;
                Ok(Arc::new(simulator))
            }
            ProviderKind::Stripe => {
                let timeout = Duration::from_millis(self.payment_stripe_timeout_ms);
                let settings =
                    stripe::Settings { url: self.payment_stripe_url.clone(), key: self.stripe_key()?, timeout };
                Ok(Arc::new(Stripe::new(&settings)?))
            }
        }
    }

    /// The payment log, and its writer where one is wanted.
    pub(crate) fn log(&self) -> Result<(PaymentLog, Option<log::Writer>), LogSetupError> {
        let Some(folder) = &self.payment_log else { return Ok((PaymentLog::off(), None)) };
        let provider = match self.payment_provider {
            ProviderKind::Simulator => "simulator",
            ProviderKind::Stripe => "stripe",
        };
        let opened = PaymentLog::open(folder, provider);
        let (log, writer) = opened.map_err(|source| LogSetupError { folder: folder.clone(), source })?;
        Ok((log, Some(writer)))
    }

    fn stripe_key(&self) -> Result<SecretString, ProviderSetupError> {
        let read = |path: &Path| {
            let text = std::fs::read_to_string(path);
            text.map(|text| SecretString::from(text.trim()))
                .map_err(|source| ProviderSetupError::KeyFile { path: path.to_owned(), source })
        };
        match (&self.payment_stripe_key, &self.payment_stripe_key_file) {
            (Some(key), _) => Ok(key.clone()),
            (None, Some(path)) => read(path),
            (None, None) => Err(ProviderSetupError::NoKey),
        }
    }
}
