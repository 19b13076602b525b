//! Calling a mesh as its users do: plain generated clients with a token.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use mesh::client::{self, Address};
use mesh::identity::Issuer;
use mesh::tls::Tls;
use proto::contract::Role;
use proto::listing::v1::listing_service_client::ListingServiceClient;
use proto::message::v1::message_service_client::MessageServiceClient;
use proto::mileage::v1::mileage_service_client::MileageServiceClient;
use proto::payment::v1::payment_service_client::PaymentServiceClient;
use proto::reservation::v1::reservation_service_client::ReservationServiceClient;
use proto::view::v1::view_service_client::ViewServiceClient;
use proto::voucher::v1::voucher_service_client::VoucherServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::home::{Home, HomeArgs, Occupant, Running};
use crate::service::{PORT_BASE, Service};

/// How long one call of a command may take.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Which mesh to call. Without any of these: the one that runs in the data folder.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which mesh")]
pub struct TargetArgs {
    /// The data folder.
    #[command(flatten)]
    pub home: HomeArgs,
    /// Folder with the issuer's key [default: that of the running `up`]
    #[arg(long, value_name = "DIR", env = "HOLDFAST_KEYS_DIR")]
    pub keys: Option<PathBuf>,
    /// Folder of ca.crt, tls.crt and tls.key, for a mesh that wants TLS [default: that of the running `up`]
    #[arg(long, value_name = "DIR", env = "HOLDFAST_TLS_DIR")]
    pub tls_dir: Option<PathBuf>,
    /// Listing service: a host or a name of several, or a list with commas [default: that of the running `up`, else
    /// http://127.0.0.1:7401]
    #[arg(long, value_name = "URL", env = "HOLDFAST_LISTING_URL")]
    pub listing_url: Option<String>,
    /// Reservation service [default: likewise, port 7402]
    #[arg(long, value_name = "URL", env = "HOLDFAST_RESERVATION_URL")]
    pub reservation_url: Option<String>,
    /// Payment service [default: likewise, port 7403]
    #[arg(long, value_name = "URL", env = "HOLDFAST_PAYMENT_URL")]
    pub payment_url: Option<String>,
    /// Mileage service [default: likewise, port 7404]
    #[arg(long, value_name = "URL", env = "HOLDFAST_MILEAGE_URL")]
    pub mileage_url: Option<String>,
    /// Message service [default: likewise, port 7405]
    #[arg(long, value_name = "URL", env = "HOLDFAST_MESSAGE_URL")]
    pub message_url: Option<String>,
    /// View service [default: likewise, port 7406]
    #[arg(long, value_name = "URL", env = "HOLDFAST_VIEW_URL")]
    pub view_url: Option<String>,
    /// Voucher service [default: likewise, port 7407]
    #[arg(long, value_name = "URL", env = "HOLDFAST_VOUCHER_URL")]
    pub voucher_url: Option<String>,
}

impl TargetArgs {
    fn url(&self, service: Service) -> Option<&String> {
        match service {
            Service::Listing => self.listing_url.as_ref(),
            Service::Reservation => self.reservation_url.as_ref(),
            Service::Payment => self.payment_url.as_ref(),
            Service::Mileage => self.mileage_url.as_ref(),
            Service::Message => self.message_url.as_ref(),
            Service::View => self.view_url.as_ref(),
            Service::Voucher => self.voucher_url.as_ref(),
            // No command calls it.
            Service::Marketing => None,
        }
    }

    /// Finds addresses and keys.
    ///
    /// # Errors
    /// No keys are named and no `up` runs in the data folder.
    pub fn open(&self) -> Result<Target> {
        let home = self.home.open()?;
        let running = match home.occupant()? {
            Occupant::Mesh(running) => Some(*running),
            Occupant::Starting | Occupant::Nobody => None,
        };
        let keys = match (&self.keys, &running) {
            (Some(keys), _) => keys.clone(),
            (None, Some(running)) => running.keys.clone(),
            (None, None) => return Err(home.running().expect_err("nothing runs there")),
        };
        let issuer = Issuer::open(&keys).context("cannot sign tokens for this mesh")?;
        let tls = open_tls(self.tls_dir.as_ref().or_else(|| running.as_ref()?.tls.as_ref()))?;
        let urls = Service::ALL.map(|service| match (self.url(service), &running) {
            (Some(url), _) => url.clone(),
            (None, running) => {
                let address = running.as_ref().and_then(|running| running.address(service));
                format!("http://{}", address.unwrap_or_else(|| service.address(PORT_BASE)))
            }
        });
        Ok(Target { home, running, issuer, tls, urls })
    }
}

fn open_tls(dir: Option<&PathBuf>) -> Result<Option<Tls>> {
    dir.map(|dir| Tls::open(dir)).transpose().context("cannot prove who calls")
}

/// A mesh to call.
pub struct Target {
    /// The data folder.
    pub home: Home,
    /// The `up` that runs it, if it is on this computer.
    pub running: Option<Running>,
    issuer: Issuer,
    tls: Option<Tls>,
    urls: [String; Service::ALL.len()],
}

impl Target {
    /// The mesh that an `up` has just started in its own process.
    ///
    /// # Errors
    /// Its certificates are not usable.
    pub fn of_running(home: Home, issuer: Issuer, running: Running) -> Result<Self> {
        let address = |service: Service| running.address(service).unwrap_or_else(|| service.address(PORT_BASE));
        let urls = Service::ALL.map(|service| format!("http://{}", address(service)));
        let tls = open_tls(running.tls.as_ref())?;
        Ok(Self { home, running: Some(running), issuer, tls, urls })
    }

    /// Where a service of the mesh is.
    #[must_use]
    pub fn url(&self, service: Service) -> &str {
        &self.urls[service as usize]
    }

    /// A connection, made with the first call.
    ///
    /// # Errors
    /// The URL is not one.
    pub fn channel(&self, service: Service) -> Result<Channel> {
        let url = self.url(service);
        let address: Address = url.parse().with_context(|| format!("the URL of {service}, {url}, is not one"))?;
        Ok(client::plain(service.name(), &address.secured(self.tls.as_ref()), CONNECT_LIMIT))
    }

    /// What a user's calls carry.
    #[must_use]
    pub fn bearer(&self, subject: &str, role: Role, ttl: Duration) -> Bearer {
        Bearer::new(&self.issuer.token(subject, &[role], ttl))
    }

    /// A connection that sends a user's token.
    ///
    /// # Errors
    /// The URL is not one.
    pub(crate) fn authorized(&self, service: Service, subject: &str, role: Role) -> Result<Authorized> {
        let bearer = self.bearer(subject, role, Duration::from_secs(3600));
        self.channel(service).map(|channel| InterceptedService::new(channel, bearer))
    }

    /// Clients of every service for one user.
    ///
    /// # Errors
    /// A URL is not one.
    pub fn clients(&self, subject: &str, role: Role) -> Result<Clients> {
        let channel = |service| self.authorized(service, subject, role);
        Ok(Clients {
            listing: ListingServiceClient::new(channel(Service::Listing)?),
            reservation: ReservationServiceClient::new(channel(Service::Reservation)?),
            payment: PaymentServiceClient::new(channel(Service::Payment)?),
            mileage: MileageServiceClient::new(channel(Service::Mileage)?),
            message: MessageServiceClient::new(channel(Service::Message)?),
            view: ViewServiceClient::new(channel(Service::View)?),
            voucher: VoucherServiceClient::new(channel(Service::Voucher)?),
        })
    }
}

/// A connection that sends a token.
pub(crate) type Authorized = InterceptedService<Channel, Bearer>;

/// Clients of every service for one user.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is the client of the service it is named after")]
pub struct Clients {
    pub listing: ListingServiceClient<Authorized>,
    pub reservation: ReservationServiceClient<Authorized>,
    pub payment: PaymentServiceClient<Authorized>,
    pub mileage: MileageServiceClient<Authorized>,
    pub message: MessageServiceClient<Authorized>,
    pub view: ViewServiceClient<Authorized>,
    pub voucher: VoucherServiceClient<Authorized>,
}

/// Adds a token, and a deadline if the call has none.
#[derive(Clone, Debug)]
pub struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    fn new(token: &str) -> Self {
        let mut value = MetadataValue::try_from(format!("Bearer {token}")).expect("a token is printable ASCII");
        value.set_sensitive(true);
        Self(value)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        if request.metadata().get("grpc-timeout").is_none() {
            request.set_timeout(CALL_DEADLINE);
        }
        Ok(request)
    }
}
