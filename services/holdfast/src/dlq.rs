//! `holdfast dlq`: events that a consumer gave up on, and having them handled after all.

use anyhow::{Result, bail};
use proto::mesh::v1::dead_letter_service_client::DeadLetterServiceClient;
use proto::mesh::v1::{DeadLetter, GetDeadLetterRequest, ListDeadLettersRequest, RedriveDeadLetterRequest};
use serde_json::{Value, json};

use crate::api::Authorized;
use crate::failure;
use crate::operator::{Answers, Consent, Desk, OperatorArgs, instant, json_instant, print_rows};
use crate::service::Service;
use crate::terminal::{Table, done, failed, say};
use crate::trace::short;

/// Lists, shows and redrives dead letters: events that a consumer gave up on.
///
/// A consumer that cannot handle an event puts it aside and goes on with the others. Once the cause is mended, `redrive` hands the event to that
/// consumer again, and to no other; its effect happens once, and the letter is gone afterwards. An event that is refused again stays.
///
/// Exit codes: 0 done, 1 a service does not answer or a consumer refuses an event again, 2 wrong command line, 3 nothing was changed, as --yes
/// is missing.
#[derive(clap::Args, Clone, Debug)]
pub struct DlqArgs {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Action {
    /// List the dead letters of every service, in the order they were given up
    List(ListArgs),
    /// Show one with all that is known of it
    Show(ShowArgs),
    /// Hand events to the consumers that gave them up, in that order
    Redrive(RedriveArgs),
}

/// Arguments of `list`.
#[derive(clap::Args, Clone, Debug)]
pub struct ListArgs {
    /// Only those of this consumer, e.g. mileage-on-payment
    #[arg(long, value_name = "NAME")]
    pub consumer: Option<String>,
    /// How to ask.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// Arguments of `show`.
#[derive(clap::Args, Clone, Debug)]
pub struct ShowArgs {
    /// deadLetters/… or only its number
    #[arg(value_parser = number)]
    pub letter: u64,
    /// How to ask.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// Arguments of `redrive`.
#[derive(clap::Args, Clone, Debug)]
pub struct RedriveArgs {
    /// deadLetters/… or only their numbers
    #[arg(value_parser = number, required_unless_present = "all", conflicts_with = "all")]
    pub letters: Vec<u64>,
    /// All of them
    #[arg(long)]
    pub all: bool,
    /// With --all: only those of this consumer
    #[arg(long, value_name = "NAME", requires = "all")]
    pub consumer: Option<String>,
    /// Whether to do it.
    #[command(flatten)]
    pub consent: Consent,
    /// How to ask.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

fn number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("deadLetters/").unwrap_or(text);
    digits.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a name such as deadLetters/17".to_owned())
}

/// Runs the command.
///
/// # Errors
/// A service does not answer, there is no such letter, an event is refused again, or `--yes` is missing.
pub async fn run(args: &DlqArgs) -> Result<()> {
    match &args.action {
        Action::List(args) => list(args).await,
        Action::Show(args) => show(args).await,
        Action::Redrive(args) => redrive(args).await,
    }
}

async fn list(args: &ListArgs) -> Result<()> {
    let desk = args.operator.open()?;
    let (letters, answers) = gather(&desk, args.consumer.as_deref()).await;
    args.operator.print(
        || letters.iter().map(|(service, letter)| json(*service, letter)).collect(),
        || print_rows(&table(&letters), "no dead letters"),
    );
    answers.complete()
}

/// Every service's, in the order they were given up.
async fn gather(desk: &Desk<'_>, consumer: Option<&str>) -> (Vec<(Service, DeadLetter)>, Answers<()>) {
    let letters = std::cell::RefCell::new(Vec::new());
    let answers = desk
        .ask_all(async |service, channel| {
            for letter in all_of(channel, consumer.unwrap_or_default()).await? {
                letters.borrow_mut().push((service, letter));
            }
            Ok(())
        })
        .await;
    let mut letters = letters.into_inner();
    letters.sort_by_key(|(_, letter)| number(&letter.name).unwrap_or_default());
    (letters, answers)
}

async fn all_of(channel: Authorized, consumer: &str) -> Result<Vec<DeadLetter>> {
    let mut client = DeadLetterServiceClient::new(channel);
    let (mut letters, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListDeadLettersRequest { page_size: 500, page_token, consumer: consumer.to_owned() };
        let page = client.list_dead_letters(request).await?.into_inner();
        letters.extend(page.dead_letters);
        if page.next_page_token.is_empty() {
            return Ok(letters);
        }
        page_token = page.next_page_token;
    }
}

async fn show(args: &ShowArgs) -> Result<()> {
    let desk = args.operator.open()?;
    let name = name(args.letter);
    let answers = desk
        .ask_all(async |_, channel| {
            let request = GetDeadLetterRequest { name: name.clone() };
            match DeadLetterServiceClient::new(channel).get_dead_letter(request).await {
                Ok(answer) => Ok(answer.into_inner().dead_letter),
                Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
                Err(status) => Err(status.into()),
            }
        })
        .await;
    let found = answers.given.iter().find_map(|(service, letter)| Some((*service, letter.as_ref()?)));
    let Some((service, letter)) = found else {
        answers.complete()?;
        bail!("there is no {name}");
    };
    args.operator.print(|| json(service, letter), || print_letter(service, letter));
    Ok(())
}

async fn redrive(args: &RedriveArgs) -> Result<()> {
    let desk = args.operator.open()?;
    let (mut letters, answers) = gather(&desk, args.consumer.as_deref()).await;
    if !args.all {
        let is_wanted = |letter: &DeadLetter| number(&letter.name).is_ok_and(|number| args.letters.contains(&number));
        letters.retain(|(_, letter)| is_wanted(letter));
        let missing = |wanted: &&u64| !letters.iter().any(|(_, letter)| letter.name == name(**wanted));
        if let Some(missing) = args.letters.iter().find(missing) {
            answers.complete()?;
            bail!("there is no {}", name(*missing));
        }
    }
    if !args.consent.yes && !letters.is_empty() {
        args.operator.print(
            || letters.iter().map(|(service, letter)| json(*service, letter)).collect(),
            || table(&letters).print(),
        );
        return args.consent.given();
    }
    let mut outcomes = Vec::new();
    for (service, letter) in &letters {
        let request = RedriveDeadLetterRequest { name: letter.name.clone() };
        let answer = DeadLetterServiceClient::new(desk.connect(*service)?).redrive_dead_letter(request).await;
        outcomes.push((letter, answer.err().map(|status| failure::describe(&status.into()))));
    }
    args.operator.print(|| outcomes.iter().map(outcome_json).collect(), || print_outcomes(&outcomes));
    answers.complete()?;
    match outcomes.iter().filter(|(_, error)| error.is_some()).count() {
        0 => Ok(()),
        refused => bail!("{refused} of {} events were not handled; their letters stay", outcomes.len()),
    }
}

/// A letter, and why it is still there.
type Outcome<'a> = (&'a DeadLetter, Option<String>);

fn outcome_json((letter, error): &Outcome<'_>) -> Value {
    json!({ "name": letter.name, "consumer": letter.consumer, "handled": error.is_none(), "error": error })
}

fn print_outcomes(outcomes: &[Outcome<'_>]) {
    if outcomes.is_empty() {
        say("no dead letters");
    }
    for (letter, error) in outcomes {
        let event = format!("{} {} by {}", letter.name, short(&letter.resource), letter.consumer);
        match error {
            None => done(format_args!("{event}: handled")),
            Some(error) => failed(format_args!("{event}: {error}")),
        }
    }
}

fn name(number: u64) -> String {
    format!("deadLetters/{number}")
}

fn table(letters: &[(Service, DeadLetter)]) -> Table {
    let headings = ["name", "consumer", "event", "resource", "given up", "deliveries", "error"];
    let mut table = Table::new(headings).right(&[5]);
    for (_, letter) in letters {
        table.row([
            letter.name.clone(),
            letter.consumer.clone(),
            letter.r#type.rsplit('.').next().unwrap_or_default().to_owned(),
            short(&letter.resource),
            instant(letter.create_time.as_ref()),
            letter.delivery_count.to_string(),
            letter.error.clone(),
        ]);
    }
    table
}

fn print_letter(service: Service, letter: &DeadLetter) {
    let DeadLetter { stream, stream_sequence, delivery_count, .. } = letter;
    for (what, value) in [
        ("name", letter.name.clone()),
        ("consumer", format!("{} of {service}", letter.consumer)),
        ("error", letter.error.clone()),
        ("given up", format!("{} after {delivery_count} deliveries", instant(letter.create_time.as_ref()))),
        ("event", format!("{} {}", letter.r#type, letter.event_id)),
        ("about", format!("{} version {}", letter.resource, letter.version)),
        ("belongs to", letter.correlation.clone()),
        ("happened", instant(letter.event_time.as_ref())),
        ("stream", format!("{stream} at {stream_sequence}")),
        ("payload", format!("{} bytes; --json prints them", letter.payload.len())),
    ] {
        say(format_args!("{what:<10}  {value}"));
    }
}

fn json(service: Service, letter: &DeadLetter) -> Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    json!({
        "name": letter.name,
        "service": service.name(),
        "consumer": letter.consumer,
        "stream": letter.stream,
        "stream_sequence": letter.stream_sequence,
        "event_id": letter.event_id,
        "type": letter.r#type,
        "resource": letter.resource,
        "version": letter.version,
        "correlation": letter.correlation,
        "event_time": json_instant(letter.event_time.as_ref()),
        "create_time": json_instant(letter.create_time.as_ref()),
        "delivery_count": letter.delivery_count,
        "error": letter.error,
        "payload_hex": hex(&letter.payload),
    })
}
