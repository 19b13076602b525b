//! `holdfast breaker`: the circuit breakers between the services, and taking the decision from them.

use anyhow::{Result, bail};
use proto::contract::METHODS;
use proto::mesh::v1::breaker::{Reason, State};
use proto::mesh::v1::breaker_service_client::BreakerServiceClient;
use proto::mesh::v1::{Breaker, BreakerMode, ListBreakersRequest, OverrideBreakerRequest};
use serde_json::{Value, json};

use crate::api::Authorized;
use crate::failure;
use crate::operator::{Consent, OperatorArgs, instant, json_instant, print_rows};
use crate::service::Service;
use crate::terminal::{Table, done, failed, say};

/// Lists the circuit breakers between the services, and takes the decision from them or gives it back.
///
/// Each service has a breaker before each method that it calls of another. Open means rejecting: callers are told at once to come back, and the
/// callee is left alone. `open` keeps one so, e.g. while the callee is mended; `disable` lets every call pass, whatever becomes of it; `auto`
/// gives the decision back, and the breaker begins closed. It lasts until the process ends: a service that starts anew decides by itself.
///
/// Exit codes: 0 done, 1 a service does not answer, 2 wrong command line, 3 nothing was changed, as --yes is missing.
#[derive(clap::Args, Clone, Debug)]
pub struct BreakerArgs {
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Action {
    /// List the breakers of every service that calls have passed or an operator has overridden
    List(ListArgs),
    /// Keep them open: every call is rejected
    Open(OverrideArgs),
    /// Let every call pass
    Disable(OverrideArgs),
    /// Let them decide by themselves again
    Auto(OverrideArgs),
}

/// Arguments of `list`.
#[derive(clap::Args, Clone, Debug)]
pub struct ListArgs {
    /// Only those before this service
    #[arg(long, value_name = "SERVICE")]
    pub callee: Option<String>,
    /// How to ask.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// Arguments of `open`, `disable` and `auto`.
#[derive(clap::Args, Clone, Debug)]
pub struct OverrideArgs {
    /// Before which service, e.g. payment; or before one of its methods, e.g. payment/ChargePayment
    #[arg(value_name = "CALLEE[/METHOD]")]
    pub callee: String,
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
/// A service does not answer, no service calls what is named, or `--yes` is missing.
pub async fn run(args: &BreakerArgs) -> Result<()> {
    match &args.action {
        Action::List(args) => list(args).await,
        Action::Open(args) => decide(args, BreakerMode::Open).await,
        Action::Disable(args) => decide(args, BreakerMode::Disabled).await,
        Action::Auto(args) => decide(args, BreakerMode::Auto).await,
    }
}

async fn list(args: &ListArgs) -> Result<()> {
    let desk = args.operator.open()?;
    let callee = args.callee.as_deref().unwrap_or_default();
    let answers = desk.ask_all(async |_, channel| all_of(channel, callee).await).await;
    let breakers: Vec<_> = answers
        .given
        .iter()
        .flat_map(|(service, breakers)| breakers.iter().map(|breaker| (*service, breaker)))
        .collect();
    args.operator.print(
        || breakers.iter().map(|(service, breaker)| json(*service, breaker)).collect(),
        || print_rows(&table(&breakers), "no service has called another"),
    );
    answers.complete()
}

async fn all_of(channel: Authorized, callee: &str) -> Result<Vec<Breaker>> {
    let mut client = BreakerServiceClient::new(channel);
    let (mut breakers, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListBreakersRequest { page_size: 500, page_token, callee: callee.to_owned() };
        let page = client.list_breakers(request).await?.into_inner();
        breakers.extend(page.breakers);
        if page.next_page_token.is_empty() {
            return Ok(breakers);
        }
        page_token = page.next_page_token;
    }
}

async fn decide(args: &OverrideArgs, mode: BreakerMode) -> Result<()> {
    let wanted = calls_to(&args.callee)?;
    if !args.consent.yes {
        for Call { caller, callee, method } in &wanted {
            say(format_args!("{caller} to {callee}: {method}"));
        }
        return args.consent.given();
    }
    let desk = args.operator.open()?;
    let mut outcomes = Vec::new();
    for call in &wanted {
        let request = OverrideBreakerRequest { name: call.breaker(), mode: mode.into() };
        let answer = BreakerServiceClient::new(desk.connect(call.caller)?).override_breaker(request).await;
        outcomes.push((call, answer.map(|answer| answer.into_inner().breaker.unwrap_or_default())));
    }
    args.operator.print(
        || outcomes.iter().filter_map(|(call, answer)| Some(json(call.caller, answer.as_ref().ok()?))).collect(),
        || {
            for (Call { caller, method, .. }, answer) in &outcomes {
                match answer {
                    Ok(breaker) => done(format_args!("{caller} to {method}: {}", state(breaker))),
                    Err(status) => failed(format_args!("{caller} to {method}: {}", describe(status))),
                }
            }
        },
    );
    match outcomes.iter().filter(|(_, answer)| answer.is_err()).count() {
        0 => Ok(()),
        refused => bail!("{refused} of {} breakers are as they were", outcomes.len()),
    }
}

fn describe(status: &tonic::Status) -> String {
    failure::describe(&status.clone().into())
}

/// What one service may call of another, as the contract says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call<'a> {
    pub(crate) caller: Service,
    pub(crate) callee: &'a str,
    /// `package.Service/Method`.
    pub(crate) method: &'static str,
}

impl Call<'_> {
    fn breaker(&self) -> String {
        format!("callees/{}/breakers/{}", self.callee, self.method.replace('/', "."))
    }
}

/// Which services call this service, or this one of its methods.
///
/// # Errors
/// None does.
pub(crate) fn calls_to(callee: &str) -> Result<Vec<Call<'_>>> {
    let (callee, method) = callee.split_once('/').map_or((callee, None), |(callee, method)| (callee, Some(method)));
    let package = format!("/holdfast.{callee}.");
    let named = |path: &str| method.is_none_or(|method| path.rsplit('/').next() == Some(method));
    let calls: Vec<_> = METHODS
        .iter()
        .filter(|rule| rule.path.starts_with(&package) && named(rule.path))
        .flat_map(|rule| {
            let callers = Service::ALL.into_iter().filter(|service| rule.services.contains(&service.name()));
            callers.map(move |caller| Call { caller, callee, method: &rule.path[1..] })
        })
        .collect();
    match (calls.is_empty(), method) {
        (false, _) => Ok(calls),
        (true, Some(method)) => bail!("no service calls {method} of {callee}"),
        (true, None) => bail!("no service calls {callee}"),
    }
}

fn state(breaker: &Breaker) -> &'static str {
    breaker.state().as_str_name().trim_start_matches("STATE_")
}

fn reason(breaker: &Breaker) -> &'static str {
    match breaker.reason() {
        Reason::Unspecified => "-",
        reason => reason.as_str_name().trim_start_matches("REASON_"),
    }
}

fn table(breakers: &[(Service, &Breaker)]) -> Table {
    let headings =
        ["caller", "callee", "method", "state", "since", "reason", "calls", "failed", "slow", "rejected", "next probe"];
    let mut table = Table::new(headings).right(&[6, 7, 8, 9]);
    for (caller, breaker) in breakers {
        table.row([
            caller.to_string(),
            breaker.callee.clone(),
            breaker.method.rsplit('/').next().unwrap_or_default().to_owned(),
            state(breaker).to_owned(),
            instant(breaker.state_time.as_ref()),
            reason(breaker).to_owned(),
            breaker.call_count.to_string(),
            breaker.failure_count.to_string(),
            breaker.slow_count.to_string(),
            breaker.rejection_count.to_string(),
            if breaker.state() == State::Open { instant(breaker.next_probe_time.as_ref()) } else { "-".to_owned() },
        ]);
    }
    table
}

fn json(caller: Service, breaker: &Breaker) -> Value {
    json!({
        "name": breaker.name,
        "caller": caller.name(),
        "callee": breaker.callee,
        "method": breaker.method,
        "state": state(breaker),
        "reason": reason(breaker),
        "state_time": json_instant(breaker.state_time.as_ref()),
        "call_count": breaker.call_count,
        "failure_count": breaker.failure_count,
        "slow_count": breaker.slow_count,
        "rejection_count": breaker.rejection_count,
        "next_probe_time": json_instant(breaker.next_probe_time.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_calls_whom_is_in_the_contract() {
        let check = |callee: &str, expected: &[(Service, &str)]| {
            let found: Vec<_> =
                calls_to(callee).unwrap().into_iter().map(|call| (call.caller, call.breaker())).collect();
            let expected: Vec<_> = expected.iter().map(|(caller, name)| (*caller, (*name).to_owned())).collect();
            assert_eq!(found, expected, "{callee}");
        };
        let charge = "callees/payment/breakers/holdfast.payment.v1.ChargeService.ChargePayment";
        check("payment/ChargePayment", &[(Service::Reservation, charge)]);
        let all = calls_to("payment").unwrap();
        assert!(all.len() >= 3 && all.iter().all(|call| call.caller == Service::Reservation), "{all:?}");
        assert!(calls_to("mileage").unwrap().iter().any(|call| call.caller == Service::Payment));
        for nobody in ["view", "nobody", "payment/GetPayment", "payment/Nothing", ""] {
            assert!(calls_to(nobody).is_err(), "{nobody}");
        }
    }
}
