//! `holdfast inject`: faults in the calls between the services, to see what becomes of them.

use std::time::Duration;

use anyhow::Result;
use mesh::client::{Action as Fault, InjectedFault};
use proto::mesh::v1::injected_fault::Kind;
use proto::mesh::v1::injected_fault_service_client::InjectedFaultServiceClient;
use proto::mesh::v1::{
    DeleteInjectedFaultRequest, InjectedFault as Wire, ListInjectedFaultsRequest, SetInjectedFaultRequest,
};
use serde_json::{Value, json};

use crate::api::Authorized;
use crate::breaker::calls_to;
use crate::duration;
use crate::operator::{Answers, Consent, Desk, OperatorArgs, instant, json_instant, print_rows};
use crate::service::Service;
use crate::terminal::{Table, done, say};

/// Puts faults into the calls between services, lists and ends them.
///
/// A fault happens in the service that calls, to a share of its calls to another: a delay before the call, an answer in its place, or silence
/// until the deadline. The caller's breakers see it as the callee's doing. It ends by itself; a seed makes it decide the same again. For drills
/// and demonstrations.
///
/// Exit codes: 0 done, 1 a service does not answer or refuses, 2 wrong command line, 3 nothing was changed, as --yes is missing.
#[derive(clap::Args, Clone, Debug)]
pub struct InjectArgs {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Action {
    /// List the faults in the calls of every service
    List(OperatorArgs),
    /// Put a fault into calls, in place of the one of the same callee, method and kind
    Set(SetArgs),
    /// End faults
    Clear(ClearArgs),
}

/// Arguments of `set`.
#[derive(clap::Args, Clone, Debug)]
pub struct SetArgs {
    /// E.g. payment/ChargePayment=abort:UNAVAILABLE@30%, payment=delay:0ms..1s#7, mileage=hang@5%
    #[arg(value_name = "CALLEE[/METHOD]=FAULT[@PERCENT%][#SEED]")]
    pub fault: InjectedFault,
    /// For how long
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = duration::parse)]
    pub ttl: Duration,
    /// Whether to do it.
    #[command(flatten)]
    pub consent: Consent,
    /// How to ask.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// Arguments of `clear`.
#[derive(clap::Args, Clone, Debug)]
pub struct ClearArgs {
    /// Only those in calls to this service
    #[arg(long, value_name = "SERVICE")]
    pub callee: Option<String>,
    /// Whether to do it.
    #[command(flatten)]
    pub consent: Consent,
    /// How to ask.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// Runs the command.
///
/// # Errors
/// A service does not answer or refuses, no service calls what is named, or `--yes` is missing.
pub async fn run(args: &InjectArgs) -> Result<()> {
    match &args.action {
        Action::List(args) => list(args).await,
        Action::Set(args) => set(args).await,
        Action::Clear(args) => clear(args).await,
    }
}

async fn list(args: &OperatorArgs) -> Result<()> {
    let answers = gather(&args.open()?).await;
    show(args, &all(&answers));
    answers.complete()
}

async fn set(args: &SetArgs) -> Result<()> {
    let mut to = args.fault.callee.clone();
    if let Some(method) = &args.fault.method {
        to = format!("{to}/{method}");
    }
    let mut callers: Vec<_> = calls_to(&to)?.iter().map(|call| call.caller).collect();
    callers.sort_unstable();
    callers.dedup();
    if !args.consent.yes {
        for caller in callers {
            say(format_args!("{caller}: {}", args.fault));
        }
        return args.consent.given();
    }
    let desk = args.operator.open()?;
    let mut faults = Vec::new();
    for caller in callers {
        let request = SetInjectedFaultRequest { injected_fault: Some(to_wire(&args.fault, args.ttl)) };
        let answer = InjectedFaultServiceClient::new(desk.connect(caller)?).set_injected_fault(request).await?;
        faults.extend(answer.into_inner().injected_fault.map(|fault| (caller, fault)));
    }
    show(&args.operator, &faults.iter().map(|(caller, fault)| (*caller, fault)).collect::<Vec<_>>());
    Ok(())
}

async fn clear(args: &ClearArgs) -> Result<()> {
    let desk = args.operator.open()?;
    let answers = gather(&desk).await;
    let mut wanted = all(&answers);
    wanted.retain(|(_, fault)| args.callee.as_ref().is_none_or(|callee| *callee == fault.callee));
    if !args.consent.yes && !wanted.is_empty() {
        show(&args.operator, &wanted);
        return args.consent.given();
    }
    for (caller, fault) in &wanted {
        let request = DeleteInjectedFaultRequest { name: fault.name.clone() };
        match InjectedFaultServiceClient::new(desk.connect(*caller)?).delete_injected_fault(request).await {
            Ok(_) => {}
            // It has ended by itself.
            Err(status) if status.code() == tonic::Code::NotFound => {}
            Err(status) => return Err(status.into()),
        }
    }
    args.operator.print(
        || wanted.iter().map(|(caller, fault)| json(*caller, fault)).collect(),
        || match wanted.as_slice() {
            [] => say("no faults"),
            wanted => {
                for (caller, fault) in wanted {
                    done(format_args!("{caller}: {} has ended", text(fault)));
                }
            }
        },
    );
    answers.complete()
}

async fn gather(desk: &Desk<'_>) -> Answers<Vec<Wire>> {
    desk.ask_all(async |_, channel| all_of(channel).await).await
}

async fn all_of(channel: Authorized) -> Result<Vec<Wire>> {
    let mut client = InjectedFaultServiceClient::new(channel);
    let (mut faults, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListInjectedFaultsRequest { page_size: 500, page_token };
        let page = client.list_injected_faults(request).await?.into_inner();
        faults.extend(page.injected_faults);
        if page.next_page_token.is_empty() {
            return Ok(faults);
        }
        page_token = page.next_page_token;
    }
}

fn all(answers: &Answers<Vec<Wire>>) -> Vec<(Service, &Wire)> {
    let faults = answers.given.iter().flat_map(|(caller, faults)| faults.iter().map(|fault| (*caller, fault)));
    faults.collect()
}

fn show(args: &OperatorArgs, faults: &[(Service, &Wire)]) {
    args.print(
        || faults.iter().map(|(caller, fault)| json(*caller, fault)).collect(),
        || print_rows(&table(faults), "no faults"),
    );
}

fn to_wire(fault: &InjectedFault, ttl: Duration) -> Wire {
    let InjectedFault { callee, method, action, permille, seed } = fault;
    let time = |time: Duration| prost_types::Duration::try_from(time).ok();
    let (kind, code, min_delay, max_delay) = match *action {
        Fault::Delay(from, to) => (Kind::Delay, String::new(), time(from), time(to)),
        Fault::Abort(code) => (Kind::Abort, mesh::fault::code_name(code).to_owned(), None, None),
        Fault::Hang => (Kind::Hang, String::new(), None, None),
    };
    Wire {
        callee: callee.clone(),
        method: method.clone().unwrap_or_default(),
        kind: kind.into(),
        code,
        min_delay,
        max_delay,
        permille: i32::try_from(*permille).unwrap_or(i32::MAX),
        seed: seed.cast_signed(),
        ttl: time(ttl),
        ..Wire::default()
    }
}

/// As it would be typed.
fn text(fault: &Wire) -> String {
    let ms = |time: Option<prost_types::Duration>| {
        time.and_then(|time| Duration::try_from(time).ok()).unwrap_or_default().as_millis()
    };
    let slash = if fault.method.is_empty() { "" } else { "/" };
    let what = match fault.kind() {
        Kind::Delay => format!("delay:{}ms..{}ms", ms(fault.min_delay), ms(fault.max_delay)),
        Kind::Abort => format!("abort:{}", fault.code),
        Kind::Hang => "hang".to_owned(),
        Kind::Unspecified => "?".to_owned(),
    };
    let percent = f64::from(fault.permille) / 10.0;
    format!("{}{slash}{}={what}@{percent}%#{}", fault.callee, fault.method, fault.seed.cast_unsigned())
}

fn table(faults: &[(Service, &Wire)]) -> Table {
    let mut table = Table::new(["caller", "fault", "until", "calls", "injected"]).right(&[3, 4]);
    for (caller, fault) in faults {
        table.row([
            caller.to_string(),
            text(fault),
            instant(fault.expire_time.as_ref()),
            fault.call_count.to_string(),
            fault.injected_count.to_string(),
        ]);
    }
    table
}

fn json(caller: Service, fault: &Wire) -> Value {
    json!({
        "name": fault.name,
        "caller": caller.name(),
        "fault": text(fault),
        "expire_time": json_instant(fault.expire_time.as_ref()),
        "call_count": fault.call_count,
        "injected_count": fault.injected_count,
    })
}
