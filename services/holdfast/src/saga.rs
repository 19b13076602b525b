//! `holdfast saga`: the work on reservations, and what to do where it is stuck.

use anyhow::{Context as _, Result};
use proto::reservation::v1::saga::{State, Step};
use proto::reservation::v1::saga_service_client::SagaServiceClient;
use proto::reservation::v1::{
    AbandonSagaRequest, GetSagaRequest, ListSagasRequest, Outstanding, RetrySagaRequest, Saga, reservation,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::actor::amount;
use crate::api::Authorized;
use crate::operator::{Consent, OperatorArgs, instant, json_instant, print_rows};
use crate::service::Service;
use crate::terminal::{Table, say};

/// Lists, shows, retries and abandons sagas: the work that carries reservations forward or undoes them.
///
/// A saga whose driver is gone is taken up by itself when its lease ends; `retry` ends the lease now. `abandon` cancels the reservation and has
/// all undone; if even that cannot be done, `abandon --give-up` stops the undoing, tells what may still be held or charged, and leaves the saga on
/// record: `list` and `holdfast audit` show it until a retry has succeeded.
///
/// Exit codes: 0 done, 1 refused or no answer, 2 wrong command line, 3 nothing was changed, as --yes is missing.
#[derive(clap::Args, Clone, Debug)]
pub struct SagaArgs {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Action {
    /// List those that are at work, being undone or abandoned, the oldest first
    List(ListArgs),
    /// Show one with all that is known of it
    Show(ShowArgs),
    /// Have one taken up now
    Retry(RetryArgs),
    /// Cancel the reservation of one and undo what was done
    Abandon(AbandonArgs),
}

/// Arguments of `list`.
#[derive(clap::Args, Clone, Debug)]
pub struct ListArgs {
    /// Those that wait for a host or a customer, too
    #[arg(long)]
    pub waiting: bool,
    /// How to ask.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// Arguments of `show`.
#[derive(clap::Args, Clone, Debug)]
pub struct ShowArgs {
    /// sagas/…, reservations/… or only the id
    #[arg(value_parser = saga_id)]
    pub saga: Uuid,
    /// How to ask.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// Arguments of `retry`.
#[derive(clap::Args, Clone, Debug)]
pub struct RetryArgs {
    /// Which.
    #[command(flatten)]
    pub which: ShowArgs,
    /// Whether to do it.
    #[command(flatten)]
    pub consent: Consent,
}

/// Arguments of `abandon`.
#[derive(clap::Args, Clone, Debug)]
pub struct AbandonArgs {
    /// Which.
    #[command(flatten)]
    pub which: ShowArgs,
    /// Why, for those who come after
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Stop the undoing of one that has turned round already
    #[arg(long)]
    pub give_up: bool,
    /// Whether to do it.
    #[command(flatten)]
    pub consent: Consent,
}

fn saga_id(text: &str) -> Result<Uuid, String> {
    let id = ["sagas/", "reservations/"].iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    Uuid::try_parse(id).map_err(|_| "expected a name such as sagas/0190c0de-…".to_owned())
}

type Client = SagaServiceClient<Authorized>;

/// Runs the command.
///
/// # Errors
/// Reservation does not answer or refuses, or `--yes` is missing.
pub async fn run(args: &SagaArgs) -> Result<()> {
    match &args.action {
        Action::List(args) => list(args).await,
        Action::Show(args) => {
            let saga = get(&mut client(&args.operator)?, args.saga).await?;
            print(&args.operator, &saga);
            Ok(())
        }
        Action::Retry(args) => retry(args).await,
        Action::Abandon(args) => abandon(args).await,
    }
}

fn client(operator: &OperatorArgs) -> Result<Client> {
    Ok(SagaServiceClient::new(operator.open()?.connect(Service::Reservation)?))
}

async fn get(client: &mut Client, id: Uuid) -> Result<Saga> {
    found(client.get_saga(GetSagaRequest { name: name(id) }).await?.into_inner().saga)
}

async fn list(args: &ListArgs) -> Result<()> {
    let mut client = client(&args.operator)?;
    let states = [State::Forward, State::Undoing, State::Abandoned].into_iter();
    let states: Vec<i32> = states.chain(args.waiting.then_some(State::Waiting)).map(i32::from).collect();
    let (mut sagas, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListSagasRequest { page_size: 500, page_token, states: states.clone() };
        let page = client.list_sagas(request).await?.into_inner();
        sagas.extend(page.sagas);
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    args.operator.print(|| sagas.iter().map(json).collect(), || print_rows(&table(&sagas), "no sagas at work"));
    Ok(())
}

async fn retry(RetryArgs { which, consent }: &RetryArgs) -> Result<()> {
    let mut client = client(&which.operator)?;
    if !consent.yes {
        print(&which.operator, &get(&mut client, which.saga).await?);
        return consent.given();
    }
    let saga = client.retry_saga(RetrySagaRequest { name: name(which.saga) }).await?.into_inner().saga;
    print(&which.operator, &found(saga)?);
    Ok(())
}

async fn abandon(args: &AbandonArgs) -> Result<()> {
    let AbandonArgs { which, reason, give_up, consent } = args;
    let mut client = client(&which.operator)?;
    if !consent.yes {
        print(&which.operator, &get(&mut client, which.saga).await?);
        return consent.given();
    }
    let request = AbandonSagaRequest { name: name(which.saga), reason: reason.clone(), give_up: *give_up };
    let saga = client.abandon_saga(request).await?.into_inner().saga;
    print(&which.operator, &found(saga)?);
    Ok(())
}

fn name(id: Uuid) -> String {
    format!("sagas/{id}")
}

fn found(saga: Option<Saga>) -> Result<Saga> {
    saga.context("the answer holds no saga")
}

fn state(saga: &Saga) -> &'static str {
    saga.state().as_str_name().trim_start_matches("STATE_")
}

fn step(saga: &Saga) -> &'static str {
    Step::as_str_name(&saga.step()).trim_start_matches("STEP_")
}

fn reservation_state(saga: &Saga) -> &'static str {
    reservation::State::as_str_name(&saga.reservation_state()).trim_start_matches("STATE_")
}

/// Why it is not done yet, as far as it is known.
fn trouble(saga: &Saga) -> String {
    let told = [saga.failure.as_str(), saga.last_error.as_str(), saga.abandon_reason.as_str()];
    let mut told: Vec<&str> = told.into_iter().filter(|text| !text.is_empty()).collect();
    told.dedup();
    told.join("; ")
}

fn table(sagas: &[Saga]) -> Table {
    let headings = ["saga", "reservation", "state", "step", "since", "lease until", "takeovers", "trouble"];
    let mut table = Table::new(headings).right(&[6]);
    for saga in sagas {
        table.row([
            saga.name.clone(),
            reservation_state(saga).to_owned(),
            state(saga).to_owned(),
            step(saga).to_owned(),
            instant(saga.step_time.as_ref()),
            instant(saga.lease_expire_time.as_ref()),
            saga.takeover_count.to_string(),
            trouble(saga),
        ]);
    }
    table
}

fn print(operator: &OperatorArgs, saga: &Saga) {
    operator.print(|| json(saga), || print_saga(saga));
}

fn print_saga(saga: &Saga) {
    let taken = saga.outstanding.clone().unwrap_or_default();
    let mut lines = vec![
        ("saga", format!("{} {}", saga.name, state(saga))),
        ("reservation", format!("{} {}", saga.reservation, reservation_state(saga))),
        ("step", format!("{} since {}", step(saga), instant(saga.step_time.as_ref()))),
        ("lease until", instant(saga.lease_expire_time.as_ref())),
        ("takeovers", saga.takeover_count.to_string()),
        ("turned by", saga.failure.clone()),
        ("last error", saga.last_error.clone()),
    ];
    if saga.state() == State::Abandoned {
        let when = instant(saga.abandon_time.as_ref());
        lines.push(("abandoned", format!("by {} at {when}: {}", saga.abandoned_by, saga.abandon_reason)));
    }
    lines
        .push(("may be held", if taken.hold { format!("a place of {}", taken.listing) } else { "nothing".to_owned() }));
    lines.push(("may be paid", paid(&taken)));
    for (what, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        say(format_args!("{what:<11}  {value}"));
    }
}

fn paid(taken: &Outstanding) -> String {
    if !taken.charge {
        return "nothing".to_owned();
    }
    let amount =
        taken.amount.as_ref().map_or_else(|| "an amount not known here".to_owned(), |money| amount(Some(money)));
    let payment = if taken.payment.is_empty() { String::new() } else { format!(", {}", taken.payment) };
    format!("{amount} by {}{payment}", taken.customer)
}

fn json(saga: &Saga) -> Value {
    let taken = saga.outstanding.clone().unwrap_or_default();
    json!({
        "name": saga.name,
        "reservation": saga.reservation,
        "reservation_state": reservation_state(saga),
        "state": state(saga),
        "step": step(saga),
        "failure": saga.failure,
        "last_error": saga.last_error,
        "takeover_count": saga.takeover_count,
        "charge_attempt": saga.charge_attempt,
        "step_time": json_instant(saga.step_time.as_ref()),
        "lease_expire_time": json_instant(saga.lease_expire_time.as_ref()),
        "abandon_time": json_instant(saga.abandon_time.as_ref()),
        "abandoned_by": saga.abandoned_by,
        "abandon_reason": saga.abandon_reason,
        "outstanding": {
            "hold": taken.hold,
            "listing": taken.listing,
            "charge": taken.charge,
            "customer": taken.customer,
            "amount": taken.amount.as_ref().map(|money| amount(Some(money))),
            "payment": taken.payment,
        },
    })
}
