//! The services around reservation, and a customer.

use std::time::Duration;

use clap::Parser;
use mesh::{
    fault::Fault,
    store::Micros,
    testing::{Running, TestMesh, all_pages, eventually},
    value::{Day, Zone},
};
use proto::{
    contract::Role,
    google::r#type::Money,
    listing::v1::{
        CreateListingRequest, DateRange, Listing, QueryAvailabilityRequest, ReservationPolicy, Stay, listing::Kind,
        listing_service_client::ListingServiceClient, reservation_policy::Mileage,
    },
    payment::v1::{ListPaymentsRequest, Payment, payment_service_client::PaymentServiceClient},
    reservation::v1::{
        CancelReservationRequest, CreateReservationRequest, GetReservationRequest, ListReservationsRequest,
        Reservation,
        reservation::{Slot, State},
        reservation_service_client::ReservationServiceClient,
    },
};
use tonic::{Request, Status};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) type Reservations = ReservationServiceClient<mesh::client::Channel>;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    listing: listing::Config,
    #[command(flatten)]
    reservation: reservation::Config,
    #[command(flatten)]
    payment: payment::Config,
}

/// Services that run in this test.
pub(crate) struct Stage {
    pub(crate) mesh: TestMesh,
    pub(crate) listing: Running,
    pub(crate) payment: Running,
    mileage: Running,
    reservation: Running,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let mesh = TestMesh::start().await;
        let node = mesh.node();
        let listing = {
            let node = node.clone();
            Running::start(|listener, shutdown| async move {
                let config = Options::parse_from(["test"]).listing;
                listing::serve(&node, config, listener, shutdown).await
            })
            .await
        };
        let mileage = {
            let node = node.clone();
            Running::start(|listener, shutdown| async move {
                let mileage_listen = listener.local_addr().expect("bound");
                let config = mileage::Config { mileage_listen, mileage_reconcile_every_ms: 0 };
                mileage::serve(&node, config, listener, shutdown).await
            })
            .await
        };
        let payment = {
            let url = format!("http://{}", mileage.address);
            let config = Options::parse_from(["test", "--mileage-url", &url]).payment;
            let node = node.clone();
            Running::start(|listener, shutdown| async move { payment::serve(&node, config, listener, shutdown).await })
                .await
        };
        let reservation = {
            let (listing, payment) = (format!("http://{}", listing.address), format!("http://{}", payment.address));
            let config =
                Options::parse_from(["test", "--listing-url", &listing, "--payment-url", &payment]).reservation;
            let serve = |listener, shutdown| async move { reservation::serve(&node, config, listener, shutdown).await };
            Running::start(serve).await
        };
        Self { mesh, listing, payment, mileage, reservation }
    }

    pub(crate) async fn strike(self) {
        for service in [self.reservation, self.payment, self.mileage, self.listing] {
            service.stop().await;
        }
    }

    pub(crate) fn customer(&self, subject: &str) -> Reservations {
        ReservationServiceClient::new(self.mesh.user("reservation", self.reservation.address, subject, Role::Customer))
    }

    pub(crate) fn host(&self) -> Reservations {
        ReservationServiceClient::new(self.mesh.user("reservation", self.reservation.address, "hana", Role::Host))
    }

    fn listings(&self) -> ListingServiceClient<mesh::client::Channel> {
        ListingServiceClient::new(self.mesh.user("listing", self.listing.address, "hana", Role::Host))
    }

    /// Offers one unit at a price in won, paid at booking.
    pub(crate) async fn offer(&self, price: i64) -> String {
        let mileage = if price == 0 { Mileage::None } else { Mileage::EarnGraceful };
        let policy = ReservationPolicy { mileage: mileage.into(), mileage_points: 5, ..ReservationPolicy::default() };
        self.offer_under(price, policy).await
    }

    /// Offers one unit under a policy, which is completed as a room's.
    pub(crate) async fn offer_under(&self, price: i64, policy: ReservationPolicy) -> String {
        let listing = Listing {
            display_name: "Loft".to_owned(),
            kind: Kind::Room.into(),
            price: Some(Money { currency_code: "KRW".to_owned(), units: price, nanos: 0 }),
            default_capacity: 1,
            time_zone: "Asia/Seoul".to_owned(),
            policy: Some(policy),
            ..Listing::default()
        };
        let request = CreateListingRequest { listing: Some(listing), request_id: request_id() };
        let created = self.listings().create_listing(request).await.expect("a listing").into_inner();
        created.listing.expect("the listing").name
    }

    pub(crate) async fn is_free(&self, listing: &str) -> bool {
        let stay = stay();
        let dates = DateRange { start_date: stay.check_in_date, end_date: stay.check_out_date };
        let request = QueryAvailabilityRequest { name: listing.to_owned(), dates: Some(dates) };
        let answer = self.listings().query_availability(request).await.expect("availability").into_inner();
        answer.availabilities.iter().all(|night| night.available == 1)
    }

    pub(crate) async fn payments(&self, subject: &str) -> Vec<Payment> {
        let mut client =
            PaymentServiceClient::new(self.mesh.user("payment", self.payment.address, subject, Role::Customer));
        client.list_payments(ListPaymentsRequest::default()).await.expect("a list").into_inner().payments
    }
}

pub(crate) fn stay() -> Stay {
    let today: Day = Zone::named("Asia/Seoul").expect("a zone").day_at(Micros::now());
    Stay { check_in_date: Some(today.plus(20).into()), check_out_date: Some(today.plus(22).into()) }
}

pub(crate) fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

pub(crate) fn wish(listing: &str, payment_method: &str) -> CreateReservationRequest {
    CreateReservationRequest {
        reservation: Some(Reservation {
            listing: listing.to_owned(),
            slot: Some(Slot::Stay(stay())),
            units: 1,
            persons: 1,
            ..Reservation::default()
        }),
        payment_method: payment_method.to_owned(),
        request_id: request_id(),
        expected_total: None,
    }
}

pub(crate) async fn reserve(client: &Reservations, request: &CreateReservationRequest) -> Result<Reservation, Status> {
    let answer = client.clone().create_reservation(request.clone()).await?;
    Ok(answer.into_inner().reservation.expect("a reservation"))
}

pub(crate) async fn reserve_within(
    client: &Reservations,
    request: &CreateReservationRequest,
    budget: Duration,
) -> Result<Reservation, Status> {
    let mut timed = Request::new(request.clone());
    timed.set_timeout(budget);
    let answer = client.clone().create_reservation(timed).await?;
    Ok(answer.into_inner().reservation.expect("a reservation"))
}

pub(crate) async fn cancel(client: &Reservations, request: &CancelReservationRequest) -> Result<Reservation, Status> {
    let answer = client.clone().cancel_reservation(request.clone()).await?;
    Ok(answer.into_inner().reservation.expect("a reservation"))
}

pub(crate) fn cancellation(name: &str) -> CancelReservationRequest {
    CancelReservationRequest { name: name.to_owned(), request_id: request_id(), etag: String::new() }
}

pub(crate) async fn get(client: &Reservations, name: &str) -> Result<Reservation, Status> {
    let answer = client.clone().get_reservation(GetReservationRequest { name: name.to_owned() }).await?;
    Ok(answer.into_inner().reservation.expect("a reservation"))
}

pub(crate) async fn list(client: &Reservations) -> Vec<Reservation> {
    all_pages(async |page_token| {
        let request = ListReservationsRequest { page_size: 2, page_token };
        let page = client.clone().list_reservations(request).await.expect("a page").into_inner();
        (page.reservations, page.next_page_token)
    })
    .await
}

pub(crate) async fn until(client: &Reservations, name: &str, state: State) -> Reservation {
    eventually(PATIENCE, || async { get(client, name).await.ok().filter(|found| found.state() == state) }).await
}

pub(crate) fn reason(status: &Status) -> String {
    Fault::from_status(status).reason().to_owned()
}
