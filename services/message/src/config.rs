//! Options of the message service.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lettre::message::Mailbox;
use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::{Language, RetryPolicy};
use crate::events::Platform;
use crate::notifier::{
    FileNotifier, InvalidWebhookSecret, Notifier, Notifiers, SmtpError, SmtpNotifier, SmtpSettings, WebhookError,
    WebhookNotifier, WebhookSettings, WebhookUrl,
};

/// How messages leave the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NotifierKind {
    /// Into a file of JSON lines.
    File,
    /// By signed HTTP POST.
    Webhook,
    /// By e-mail.
    Smtp,
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
    /// How SMS leave the system; like messages unless told otherwise
    #[arg(long, env = "HOLDFAST_MESSAGE_SMS_NOTIFIER", value_enum)]
    pub message_sms_notifier: Option<NotifierKind>,
    /// How alarms leave the system; like messages unless told otherwise
    #[arg(long, env = "HOLDFAST_MESSAGE_ALARM_NOTIFIER", value_enum)]
    pub message_alarm_notifier: Option<NotifierKind>,
    /// File that messages are appended to, one JSON object a line
    #[arg(long, env = "HOLDFAST_MESSAGE_FILE", default_value = ".holdfast/messages.jsonl")]
    pub message_file: PathBuf,
    /// Log each message that was written to the file, without its text
    #[arg(long, env = "HOLDFAST_MESSAGE_LOG")]
    pub message_log: bool,
    /// URL that messages are posted to
    #[arg(long, env = "HOLDFAST_MESSAGE_WEBHOOK_URL", hide_env_values = true)]
    pub message_webhook_url: Option<WebhookUrl>,
    /// Secret that posts are signed with, whsec_ and base64; two with a space between them while the receiver changes its own. Prefer the
    /// environment: arguments can be seen by other users
    #[arg(long, env = "HOLDFAST_MESSAGE_WEBHOOK_SECRET", hide_env_values = true)]
    pub message_webhook_secret: Option<SecretString>,
    /// Milliseconds that one POST may take
    #[arg(long, env = "HOLDFAST_MESSAGE_WEBHOOK_TIMEOUT_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=300_000))]
    pub message_webhook_timeout_ms: u64,
    /// Let the webhook be inside the network, loopback included
    #[arg(long, env = "HOLDFAST_MESSAGE_WEBHOOK_ALLOW_PRIVATE")]
    pub message_webhook_allow_private: bool,
    /// Mail server: smtps://user:password@host:port, or smtp:// with ?tls=required for STARTTLS. Prefer the environment: arguments can be
    /// seen by other users
    #[arg(long, env = "HOLDFAST_MESSAGE_SMTP_URL", hide_env_values = true)]
    pub message_smtp_url: Option<SecretString>,
    /// Sender of mails: an address, or a name and the address in angle brackets
    #[arg(long, env = "HOLDFAST_MESSAGE_SMTP_FROM")]
    pub message_smtp_from: Option<Mailbox>,
    /// Domain of the addresses of users whose subject is no e-mail address
    #[arg(long, env = "HOLDFAST_MESSAGE_SMTP_DOMAIN")]
    pub message_smtp_domain: Option<String>,
    /// Milliseconds that one mail may take
    #[arg(long, env = "HOLDFAST_MESSAGE_SMTP_TIMEOUT_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..=300_000))]
    pub message_smtp_timeout_ms: u64,
    /// Language of messages where neither their reader nor the listing says another
    #[arg(long, env = "HOLDFAST_MESSAGE_LANGUAGE", value_enum, default_value_t = Language::English)]
    pub message_language: Language,
    /// What alarms begin with where the listing says nothing else
    #[arg(long, env = "HOLDFAST_MESSAGE_ALARM_PREFIX", default_value = "Hello")]
    pub message_alarm_prefix: String,
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

/// A notifier cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum NotifierSetupError {
    /// The file.
    #[error("the file of messages cannot be opened: {}", .path.display())]
    File {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No URL to post to.
    #[error("the webhook needs a URL: set HOLDFAST_MESSAGE_WEBHOOK_URL")]
    NoWebhookUrl,
    /// Nothing to sign with.
    #[error("the webhook needs a secret to sign with: set HOLDFAST_MESSAGE_WEBHOOK_SECRET")]
    NoWebhookSecret,
    /// Nothing usable to sign with.
    #[error("HOLDFAST_MESSAGE_WEBHOOK_SECRET is not usable")]
    WebhookSecret(#[source] InvalidWebhookSecret),
    /// The webhook itself.
    #[error("the webhook cannot be used")]
    Webhook(#[source] WebhookError),
    /// No mail server.
    #[error("mail needs a server: set HOLDFAST_MESSAGE_SMTP_URL")]
    NoSmtpUrl,
    /// No sender.
    #[error("mail needs a sender: set HOLDFAST_MESSAGE_SMTP_FROM")]
    NoSmtpFrom,
    /// The mail server.
    #[error("mail cannot be used")]
    Smtp(#[source] SmtpError),
}

impl Config {
    pub(crate) fn retry(&self) -> RetryPolicy {
        RetryPolicy {
            attempts: self.message_attempts,
            base: Duration::from_millis(self.message_backoff_ms),
            max: Duration::from_millis(self.message_backoff_max_ms),
        }
    }

    pub(crate) fn platform(&self) -> Platform {
        Platform { language: self.message_language, alarm_prefix: self.message_alarm_prefix.clone() }
    }

    /// The notifier of each channel.
    pub(crate) fn notifiers(&self) -> Result<Notifiers, NotifierSetupError> {
        let message = self.notifier(self.message_notifier)?;
        let of = |kind: Option<NotifierKind>| match kind.filter(|kind| *kind != self.message_notifier) {
            Some(kind) => self.notifier(kind),
            None => Ok(Arc::clone(&message)),
        };
        Ok(Notifiers { sms: of(self.message_sms_notifier)?, alarm: of(self.message_alarm_notifier)?, message })
    }

    fn notifier(&self, kind: NotifierKind) -> Result<Arc<dyn Notifier>, NotifierSetupError> {
        Ok(match kind {
            NotifierKind::File => {
                let path = &self.message_file;
                let file = FileNotifier::open(path, self.message_log);
                Arc::new(file.map_err(|source| NotifierSetupError::File { path: path.clone(), source })?)
            }
            NotifierKind::Webhook => {
                Arc::new(WebhookNotifier::new(self.webhook()?).map_err(NotifierSetupError::Webhook)?)
            }
            NotifierKind::Smtp => Arc::new(SmtpNotifier::new(self.smtp()?).map_err(NotifierSetupError::Smtp)?),
        })
    }

    fn webhook(&self) -> Result<WebhookSettings, NotifierSetupError> {
        let url = self.message_webhook_url.clone().ok_or(NotifierSetupError::NoWebhookUrl)?;
        let secrets = self.message_webhook_secret.as_ref().ok_or(NotifierSetupError::NoWebhookSecret)?;
        Ok(WebhookSettings {
            url,
            secrets: secrets.expose_secret().parse().map_err(NotifierSetupError::WebhookSecret)?,
            timeout: Duration::from_millis(self.message_webhook_timeout_ms),
            allow_private: self.message_webhook_allow_private,
        })
    }

    fn smtp(&self) -> Result<SmtpSettings, NotifierSetupError> {
        Ok(SmtpSettings {
            url: self.message_smtp_url.clone().ok_or(NotifierSetupError::NoSmtpUrl)?,
            from: self.message_smtp_from.clone().ok_or(NotifierSetupError::NoSmtpFrom)?,
            domain: self.message_smtp_domain.clone(),
            timeout: Duration::from_millis(self.message_smtp_timeout_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use clap::{Command, FromArgMatches as _};

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const WEBHOOK: [&str; 4] =
        ["--message-webhook-url", "https://1.1.1.1/hook?key=hidden", "--message-webhook-secret", SECRET];
    const SMTP: [&str; 4] = [
        "--message-smtp-url",
        "smtps://alice:hidden@example.com",
        "--message-smtp-from",
        "Holdfast <no-reply@example.com>",
    ];

    /// As the command line gives it, with a file of messages in `folder`.
    fn config(folder: &tempfile::TempDir, arguments: &[&str]) -> Config {
        let file = folder.path().join("messages.jsonl").display().to_string();
        let all = ["message", "--message-file", &file].into_iter().chain(arguments.iter().copied());
        let matches = Config::augment_args(Command::new("message")).try_get_matches_from(all).expect("arguments");
        Config::from_arg_matches(&matches).expect("a configuration")
    }

    fn check_refused(arguments: &[&str], reason: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let error = config(&folder, arguments).notifiers().err().expect(reason);
        assert!(
            mesh::fault::Chain(&error).to_string().contains(reason),
            "{arguments:?}: {error}, {:?}",
            error.source()
        );
    }

    #[tokio::test]
    async fn a_channel_has_the_notifier_of_messages_or_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = config(&folder, &[]).notifiers().expect("notifiers");
        assert!(Arc::ptr_eq(&all.message, &all.sms) && Arc::ptr_eq(&all.message, &all.alarm));

        let kinds = ["--message-sms-notifier", "webhook", "--message-alarm-notifier", "smtp"];
        let each = config(&folder, &[&kinds[..], &WEBHOOK, &SMTP].concat()).notifiers().expect("notifiers");
        let limits = [&each.message, &each.sms, &each.alarm].map(|notifier| notifier.time_limit().as_secs());
        assert_eq!(limits, [10, 20, 120]);
    }

    #[test]
    fn a_notifier_that_lacks_something_says_what() {
        let (kind, sms, alarm) = ("--message-notifier", "--message-sms-notifier", "--message-alarm-notifier");
        check_refused(&[kind, "webhook"], "HOLDFAST_MESSAGE_WEBHOOK_URL");
        check_refused(&[kind, "webhook", WEBHOOK[0], WEBHOOK[1]], "HOLDFAST_MESSAGE_WEBHOOK_SECRET");
        check_refused(&[sms, "webhook", WEBHOOK[0], WEBHOOK[1], WEBHOOK[2], "secret"], "24 to 64 bytes");
        check_refused(&[sms, "webhook", WEBHOOK[0], "http://[::1]/", WEBHOOK[2], SECRET], "not public");
        check_refused(&[alarm, "smtp"], "HOLDFAST_MESSAGE_SMTP_URL");
        check_refused(&[alarm, "smtp", SMTP[0], SMTP[1]], "HOLDFAST_MESSAGE_SMTP_FROM");
        check_refused(&[kind, "smtp", SMTP[0], "http://example.com", SMTP[2], SMTP[3]], "smtps://");
    }

    #[test]
    fn secrets_are_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let shown = format!("{:?}", config(&folder, &[WEBHOOK, SMTP].concat()));
        for secret in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "hidden", "alice"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
