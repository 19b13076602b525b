//! A rolling restart: processes of services are replaced one after another, the new one first, while callers book and read.
//!
//! Discovery lags: callers learn that a process is gone up to a second before its SIGTERM and up to five seconds after. The services call each other
//! by a list that names one process too many all the while. There is no lame duck: a process stops listening at the signal. So what keeps calls from
//! failing is the drain, and that channels send again what a server has not looked at. Readers without the latter show what it is for: they lose calls.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use mesh::client::{self, Address, Channel, Credentials};
use mesh::testing::{Authority, free_port, postgres};
use mesh::tls::Tls;
use proto::contract::Role;
use proto::listing::v1::{ListListingsRequest, listing_service_client::ListingServiceClient};
use proto::message::v1::{ListMessagesRequest, message_service_client::MessageServiceClient};
use proto::mileage::v1::{GetMileageAccountRequest, mileage_service_client::MileageServiceClient};
use proto::payment::v1::{ListPaymentsRequest, payment_service_client::PaymentServiceClient};
use proto::reservation::v1::{ListReservationsRequest, reservation_service_client::ReservationServiceClient};
use proto::view::v1::{ListTripsRequest, view_service_client::ViewServiceClient};
use proto::voucher::v1::{ListVouchersRequest, voucher_service_client::VoucherServiceClient};
use tokio::time::sleep;
use tonic::Status;
use world::caller::{Caller, wish_from};
use world::{Process, SERVICES, Setup, World, holdfast, ready};

use crate::load::{Load, Phase, Told};
use crate::table::Table;

/// Discovery forgets a process so much before its SIGTERM, and after.
const EARLIEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(5);
/// It is chance whether a request is on its way when a process goes: there are up to so many times as many rounds, until it was.
const LONGEST: usize = 3;
/// Slots begin within so many days.
const HORIZON_DAYS: u64 = 300;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Processes of each service
    #[arg(long, default_value_t = 2)]
    replicas: usize,
    /// Processes that are replaced, of the services in turn; more if no request was on its way to any of them
    #[arg(long, default_value_t = 14)]
    rounds: usize,
    /// Services whose processes are replaced [default: all]
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(SERVICES))]
    services: Vec<String>,
    /// Customers who book all the while
    #[arg(long, default_value_t = 4)]
    callers: usize,
    /// Readers of either kind
    #[arg(long, default_value_t = 16)]
    readers: usize,
    /// Everybody proves themselves to everybody with TLS
    #[arg(long)]
    tls: bool,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { replicas: 2, rounds: 2 * SERVICES.len(), services: Vec::new(), callers: 4, readers: 16, tls: false }
    }
}

impl Arguments {
    /// Each service's oldest process once, over TLS.
    pub(crate) fn over_tls() -> Self {
        Self { rounds: SERVICES.len(), tls: true, ..Self::default() }
    }

    fn services(&self) -> Vec<&'static str> {
        let is_chosen = |service: &&str| self.services.is_empty() || self.services.iter().any(|name| name == service);
        SERVICES.into_iter().filter(is_chosen).collect()
    }
}

/// A37, A58, A73, B22, C26, D34, E30: every process is replaced under load, and no call fails.
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let services = arguments.services();
    let mut fleet = Fleet::start(arguments.replicas, arguments.tls).await;
    let listing = fleet.caller("hana", Role::Host).offer(100_000).await;
    let bookings = fleet.bookings(arguments.callers, &listing);
    let resending = fleet.reads(arguments.readers, &services, true);
    let losing = fleet.reads(arguments.readers, &services, false);
    let mut rounds = 0;
    for service in services.iter().cycle() {
        let shown = resending.resends() > 0 && losing.load.unserved() > 0;
        if rounds >= arguments.rounds && shown || rounds >= LONGEST * arguments.rounds {
            break;
        }
        fleet.replace(service, lag(rounds)).await?;
        rounds += 1;
    }
    let (bookings, resending, losing) = (bookings.end().await, resending.end().await, losing.end().await);
    println!(
        "{rounds} processes of {} replaced, {} of each service, under {} customers and {} readers of either kind{}",
        services.join(", "),
        arguments.replicas,
        arguments.callers,
        arguments.readers,
        if arguments.tls { ", over TLS" } else { "" }
    );
    println!("{}", table(&[&bookings, &resending, &losing]));
    fleet.world.audit();
    println!("the audit finds no violation");
    for row in [&bookings, &resending] {
        ensure!(row.unserved() == 0, "{}: {:?} {:?}", row.phase.name, row.phase.come_back, row.phase.failed);
    }
    ensure!(resending.resends > 0, "nothing had to be sent again");
    ensure!(losing.unserved() > 0, "without sending again nothing was lost");
    Ok(())
}

/// When discovery forgets a process of this round, after EARLIEST before its SIGTERM: spread evenly, whatever the number of rounds.
fn lag(round: usize) -> Duration {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    (EARLIEST + LATEST).mul_f64((round as f64 * GOLDEN).fract())
}

/// Services of several processes each.
struct Fleet {
    world: World,
    services: Vec<Replicated>,
    /// What callers prove themselves with, where everybody does.
    tls: Option<Tls>,
}

/// One service.
struct Replicated {
    name: &'static str,
    /// One more than there are processes: the new one is there before the old one goes.
    ports: Vec<u16>,
    /// The oldest first.
    running: VecDeque<(u16, Process)>,
    discovered: Discovered,
}

/// What discovery says.
#[derive(Clone, Default)]
struct Discovered(Arc<Mutex<Vec<SocketAddr>>>);

impl Discovered {
    fn all(&self) -> Vec<SocketAddr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, port: u16) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(local(port));
    }

    fn remove(&self, port: u16) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| *known != local(port));
    }

    fn address(&self) -> Address {
        let told = self.clone();
        let address: Address = "http://mesh.test:1".parse().expect("an address");
        address.looked_up_by(move |_, _| Ok(told.all()))
    }
}

/// The folder of what one proves oneself with.
fn proof(world: &World, name: &str) -> PathBuf {
    world.keys().join("tls").join(name)
}

/// Certificates for all; answers the callers'.
fn issue(world: &World) -> Tls {
    const CALLERS: &str = "callers";
    let authority = Authority::new();
    SERVICES.into_iter().chain([CALLERS]).for_each(|name| authority.issue(name, &proof(world, name)));
    Tls::open(&proof(world, CALLERS)).expect("certificates")
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Replicated {
    fn new(name: &'static str, replicas: usize) -> Self {
        let ports = (0..=replicas).map(|_| free_port()).collect();
        Self { name, ports, running: VecDeque::new(), discovered: Discovered::default() }
    }

    /// How the other services find it.
    fn list(&self) -> String {
        self.ports.iter().map(|port| format!("http://{}", local(*port))).collect::<Vec<_>>().join(",")
    }

    /// Starts one more process where there is room, and lets discovery know once it is ready.
    async fn begin(&mut self, world: &World, tls: Option<&Tls>) {
        let is_free = |port: &&u16| self.running.iter().all(|(taken, _)| taken != *port);
        let port = *self.ports.iter().find(is_free).expect("one port more than processes");
        let mut command = world.serve(self.name);
        command.env(format!("HOLDFAST_{}_LISTEN", self.name.to_uppercase()), local(port).to_string());
        if tls.is_some() {
            command.env("HOLDFAST_TLS_DIR", proof(world, self.name));
        }
        self.running.push_back((port, Process::spawn(&mut command)));
        ready(self.name, Address::from(local(port)).secured(tls)).await;
        self.discovered.add(port);
    }

    /// Ends the oldest process; discovery forgets it `lag` after EARLIEST before the signal.
    async fn end_oldest(&mut self, lag: Duration) -> Result<()> {
        let (port, process) = self.running.pop_front().expect("one runs");
        if let Some(before) = EARLIEST.checked_sub(lag) {
            self.discovered.remove(port);
            sleep(before).await;
        }
        let ended = process.terminate().await;
        ensure!(ended.success(), "{} ends well when asked to: {ended}", self.name);
        sleep(lag.saturating_sub(EARLIEST)).await;
        self.discovered.remove(port);
        Ok(())
    }
}

impl Fleet {
    async fn start(replicas: usize, tls: bool) -> Self {
        let mut services: Vec<_> = SERVICES.into_iter().map(|name| Replicated::new(name, replicas)).collect();
        let urls: Vec<_> = services
            .iter()
            .map(|service| (format!("HOLDFAST_{}_URL", service.name.to_uppercase()), service.list()))
            .collect();
        let settings: Vec<_> = urls.iter().map(|(name, list)| (name.as_str(), list.as_str())).collect();
        let database = Some(postgres().url);
        let world = World::prepare(Setup { program: holdfast(), database, settings: &settings, quiet: true }).await;
        let tls = tls.then(|| issue(&world));
        for service in &mut services {
            for _ in 0..replicas {
                service.begin(&world, tls.as_ref()).await;
            }
        }
        Self { world, services, tls }
    }

    fn service(&self, name: &str) -> &Replicated {
        self.services.iter().find(|service| service.name == name).expect("a service")
    }

    /// The new one first.
    async fn replace(&mut self, name: &str, lag: Duration) -> Result<()> {
        let service = self.services.iter_mut().find(|service| service.name == name).expect("a service");
        service.begin(&self.world, self.tls.as_ref()).await;
        service.end_oldest(lag).await
    }

    fn channel(&self, service: &'static str, subject: &str, role: Role) -> Channel {
        let token = Credentials::token(&self.world.token(subject, role));
        let address = self.service(service).discovered.address().secured(self.tls.as_ref());
        client::connect(service, &address, token)
    }

    fn caller(&self, subject: &str, role: Role) -> Caller {
        Caller::new(subject, |service| self.channel(service, subject, role))
    }

    /// Customers who book.
    fn bookings(&self, callers: usize, listing: &str) -> Callers {
        let channel = |number: usize| self.channel("reservation", &format!("caller-{number}"), Role::Customer);
        let channels: Arc<[Channel]> = (0..callers).map(channel).collect();
        let (listing, asked): (Arc<str>, _) = (listing.into(), Arc::clone(&channels));
        let load = Load::begin(callers, "bookings", move |number, time| {
            let (listing, channel) = (Arc::clone(&listing), asked[number].clone());
            async move {
                let day = i32::try_from(1 + time % HORIZON_DAYS).expect("a small number");
                let customer = Caller::new("customer", |_| channel.clone());
                (Told::booking(&customer.reserve(&wish_from(&listing, day)).await), Duration::ZERO)
            }
        });
        Callers { load, channels }
    }

    /// Readers of all of these services in turn.
    fn reads(&self, callers: usize, services: &[&'static str], resends: bool) -> Callers {
        let channel = |service: &&'static str| self.channel(service, "reader", Role::Customer);
        let channels: Arc<[Channel]> = services.iter().map(channel).collect();
        if !resends {
            channels.iter().for_each(Channel::switch_resends_off);
        }
        let (services, asked): (Arc<[_]>, _) = (services.into(), Arc::clone(&channels));
        let name = if resends { "reads" } else { "reads, nothing sent again" };
        let load = Load::begin(callers, name, move |number, time| {
            let turn = (number + usize::try_from(time).expect("a small number")) % services.len();
            let (service, channel) = (services[turn], asked[turn].clone());
            async move {
                let told = read(service, channel).await.map_or_else(|status| Told::of(&status), |()| Told::Done);
                (told, Duration::ZERO)
            }
        });
        Callers { load, channels }
    }
}

/// The cheapest question of each service.
async fn read(service: &str, channel: Channel) -> Result<(), Status> {
    match service {
        "listing" => {
            let request = ListListingsRequest { page_size: 1, ..Default::default() };
            ListingServiceClient::new(channel).list_listings(request).await.map(drop)
        }
        "reservation" => {
            let request = ListReservationsRequest { page_size: 1, ..Default::default() };
            ReservationServiceClient::new(channel).list_reservations(request).await.map(drop)
        }
        "payment" => {
            let request = ListPaymentsRequest { page_size: 1, ..Default::default() };
            PaymentServiceClient::new(channel).list_payments(request).await.map(drop)
        }
        "mileage" => {
            let request = GetMileageAccountRequest { name: "users/me/mileageAccount".to_owned() };
            MileageServiceClient::new(channel).get_mileage_account(request).await.map(drop)
        }
        "message" => {
            let request = ListMessagesRequest { page_size: 1, ..Default::default() };
            MessageServiceClient::new(channel).list_messages(request).await.map(drop)
        }
        "view" => {
            let request = ListTripsRequest { page_size: 1, ..Default::default() };
            ViewServiceClient::new(channel).list_trips(request).await.map(drop)
        }
        "voucher" => {
            let request = ListVouchersRequest { page_size: 1, ..Default::default() };
            VoucherServiceClient::new(channel).list_vouchers(request).await.map(drop)
        }
        _ => Err(Status::unimplemented(service)),
    }
}

/// A load and what it goes over.
struct Callers {
    load: Load,
    channels: Arc<[Channel]>,
}

/// What one kind of callers was told.
struct Row {
    phase: Phase,
    resends: u64,
}

impl Callers {
    fn resends(&self) -> u64 {
        self.channels.iter().map(Channel::resends).sum()
    }

    async fn end(self) -> Row {
        let resends = self.resends();
        Row { phase: self.load.end().await.pop().expect("there is one phase"), resends }
    }
}

impl Row {
    /// Whoever was told anything but yes.
    fn unserved(&self) -> u64 {
        self.phase.refused() + self.phase.failures()
    }
}

fn table(rows: &[&Row]) -> Table {
    let mut table = Table::new(&["", "asked", "done", "pending", "come back", "failed", "sent again", "p99 ms"]);
    for Row { phase, resends } in rows {
        table.row([
            phase.name.clone(),
            phase.asked().to_string(),
            phase.done.to_string(),
            phase.pending.to_string(),
            phase.refused().to_string(),
            phase.failures().to_string(),
            resends.to_string(),
            (phase.latency.quantile(0.99) / 1000).to_string(),
        ]);
    }
    table
}
