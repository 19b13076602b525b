//! What `up` prints when everything is ready: where it is, who to be, what to try.

use std::path::Path;

use mesh::value::Day;
use proto::google::r#type::Date;
use uuid::Uuid;

use crate::business::days_ahead;
use crate::home::{Home, Running};
use crate::service::Service;
use crate::terminal::{Style, Table, paint, say};
use crate::token::Persona;

/// Stays to try begin so many days from now.
const DAYS_AHEAD: i32 = 30;

pub(super) fn print(home: &Home, running: &Running) {
    say(format_args!("\n{}", paint(Style::Strong, "Addresses")));
    let mut table = Table::new(["service", "address", "process", "gRPC service"]).right(&[2]);
    for endpoint in &running.services {
        let service = endpoint.service;
        table.row([
            service.to_string(),
            endpoint.address.to_string(),
            endpoint.pid.map_or_else(|| "ended".to_owned(), |pid| pid.to_string()),
            service.rpc().to_owned(),
        ]);
    }
    table.print();
    say(format_args!("\n{}", paint(Style::Strong, "Tokens")));
    let program = program(home);
    for persona in [Persona::Customer, Persona::Host, Persona::Operator] {
        let (role, who) = (persona.role().as_str(), persona.subject());
        say(format_args!(
            "{}=$({program} token {role}{})   {}",
            role.to_uppercase(),
            folder(home),
            paint(Style::Faint, format_args!("# {who}"))
        ));
    }
    say(format_args!("\n{}", paint(Style::Strong, "Try")));
    for line in calls(running) {
        say(line);
    }
    let hints = [
        format!("{program} smoke{}    one reservation from end to end, checked at every step", folder(home)),
        format!("{program} demo{} all    five businesses, each with its story", folder(home)),
        format!(
            "{program} trace{} reservations/…    what happened to a reservation, across all services",
            folder(home)
        ),
        "go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest    if you have no grpcurl".to_owned(),
        "Ctrl-C ends everything; the data stays".to_owned(),
    ];
    say("");
    for hint in hints {
        say(paint(Style::Faint, hint));
    }
}

/// Three calls that work as they stand, once the tokens are set.
fn calls(running: &Running) -> Vec<String> {
    let address =
        |service: Service| running.address(service).unwrap_or_else(|| service.address(crate::service::PORT_BASE));
    let (first, last) = (days_ahead(DAYS_AHEAD), days_ahead(DAYS_AHEAD + 2));
    let stay = format!(r#"{{"check_in_date":{},"check_out_date":{}}}"#, date(first), date(last));
    let dates = format!(r#"{{"start_date":{},"end_date":{}}}"#, date(first), date(last));
    let booking = format!(
        r#"{{"reservation":{{"listing":"{}","stay":{stay},"units":1,"persons":2}},"payment_method":"pm_card_visa","request_id":"{}"}}"#,
        running.listing,
        Uuid::new_v4()
    );
    let free = format!(r#"{{"name":"{}","dates":{dates}}}"#, running.listing);
    vec![
        call(
            "is it free?",
            &free,
            &address(Service::Listing).to_string(),
            "holdfast.listing.v1.ListingService/QueryAvailability",
        ),
        call(
            "book it (repeat it: the same reservation)",
            &booking,
            &address(Service::Reservation).to_string(),
            "holdfast.reservation.v1.ReservationService/CreateReservation",
        ),
        call("my page", "{}", &address(Service::View).to_string(), "holdfast.view.v1.ViewService/ListTrips"),
    ]
}

fn call(title: &str, request: &str, address: &str, method: &str) -> String {
    let title = paint(Style::Faint, format_args!("# {title}"));
    format!("{title}\ngrpcurl -plaintext -H \"authorization: Bearer $CUSTOMER\" -d '{request}' {address} {method}")
}

fn date(day: Day) -> String {
    let date = Date::from(day);
    format!(r#"{{"year":{},"month":{},"day":{}}}"#, date.year, date.month, date.day)
}

/// How to call this program from here: relative if that is shorter.
fn program(home: &Home) -> String {
    let Ok(program) = std::env::current_exe() else { return "holdfast".to_owned() };
    let below = home.path().parent().and_then(|folder| program.strip_prefix(folder).ok().filter(|_| is_here(folder)));
    match below {
        Some(below) => format!("./{}", below.display()),
        None => program.display().to_string(),
    }
}

fn is_here(folder: &Path) -> bool {
    std::env::current_dir().is_ok_and(|here| here == folder)
}

/// The flag that leads other commands here, unless they find it by themselves.
fn folder(home: &Home) -> String {
    let path = home.path();
    let found = path.file_name().is_some_and(|name| name == ".holdfast") && path.parent().is_some_and(is_here);
    if found { String::new() } else { format!(" --data-dir {}", path.display()) }
}
