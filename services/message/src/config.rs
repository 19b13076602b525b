//! Options of the message service.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::domain::RetryPolicy;
use crate::notifier::{WebhookSettings, WebhookUrl};

/// How messages leave the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NotifierKind {
    /// Into a file of JSON lines.
    File,
    /// By HTTP POST.
    Webhook,
}

/// Options of the message service.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Config {
    /// Where the message service listens
    #[arg(long, env = "HOLDFAST_MESSAGE_LISTEN", default_value = "127.0.0.1:7405")]
    pub message_listen: SocketAddr,
    /// How messages leave the system
    #[arg(long, env = "HOLDFAST_MESSAGE_NOTIFIER", value_enum, default_value_t = NotifierKind::File)]
    pub message_notifier: NotifierKind,
    /// File that messages are appended to, one JSON object a line
    #[arg(long, env = "HOLDFAST_MESSAGE_FILE", default_value = ".holdfast/messages.jsonl")]
    pub message_file: PathBuf,
    /// Log each message that was written to the file, without its text
    #[arg(long, env = "HOLDFAST_MESSAGE_LOG")]
    pub message_log: bool,
    /// URL that messages are posted to
    #[arg(
        long,
        env = "HOLDFAST_MESSAGE_WEBHOOK_URL",
        hide_env_values = true,
        required_if_eq("message_notifier", "webhook")
    )]
    pub message_webhook_url: Option<WebhookUrl>,
    /// Milliseconds that one POST may take
    #[arg(long, env = "HOLDFAST_MESSAGE_WEBHOOK_TIMEOUT_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=300_000))]
    pub message_webhook_timeout_ms: u64,
    /// Let the webhook be inside the network, loopback included
    #[arg(long, env = "HOLDFAST_MESSAGE_WEBHOOK_ALLOW_PRIVATE")]
    pub message_webhook_allow_private: bool,
    /// Tries before a message is given up
    #[arg(long, env = "HOLDFAST_MESSAGE_ATTEMPTS", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub message_attempts: u32,
    /// Milliseconds before the second try; doubled for each further one
    #[arg(long, env = "HOLDFAST_MESSAGE_BACKOFF_MS", default_value_t = 1_000)]
    pub message_backoff_ms: u64,
    /// Milliseconds between two tries at most
    #[arg(long, env = "HOLDFAST_MESSAGE_BACKOFF_MAX_MS", default_value_t = 900_000)]
    pub message_backoff_max_ms: u64,
}

impl Config {
    pub(crate) fn retry(&self) -> RetryPolicy {
        RetryPolicy {
            attempts: self.message_attempts,
            base: Duration::from_millis(self.message_backoff_ms),
            max: Duration::from_millis(self.message_backoff_max_ms),
        }
    }

    /// How to reach the webhook; `None` without a URL.
    pub(crate) fn webhook(&self) -> Option<WebhookSettings> {
        Some(WebhookSettings {
            url: self.message_webhook_url.clone()?,
            timeout: Duration::from_millis(self.message_webhook_timeout_ms),
            allow_private: self.message_webhook_allow_private,
        })
    }
}
