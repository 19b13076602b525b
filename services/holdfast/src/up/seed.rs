//! A few listings to try things with.

use anyhow::{Context as _, Result, bail};
use proto::google::r#type::Money;
use proto::listing::v1::{
    CreateListingRequest, ListListingsRequest, Listing, ReservationPolicy, listing, reservation_policy,
};
use tonic::Code;
use uuid::Uuid;

use crate::api::{Authorized, Target};
use crate::failure::code_and_reason;
use crate::terminal::done;
use crate::token::Persona;
use proto::listing::v1::listing_service_client::ListingServiceClient;

/// Request ids are made from this and a number: an `up` that is killed in between repeats them.
const REQUEST_IDS: u128 = 0x5eed_0000_0000_4000_8000_0000_0000_0000;
/// Lists are read so many pages far; who has more listings than that does not need ours.
const PAGES: usize = 20;

/// Makes the listings that are not there yet. Answers the name of the first one.
///
/// # Errors
/// Listing refuses.
pub(super) async fn run(target: &Target) -> Result<String> {
    let host = Persona::Host;
    let mut client = target.clients(host.subject(), host.role())?.listing;
    let present = own_listings(&mut client, &format!("users/{}", host.subject())).await?;
    let mut first = None;
    let mut made = 0;
    for (number, place) in places().into_iter().enumerate() {
        let name = match present.iter().find(|listing| listing.display_name == place.display_name) {
            Some(listing) => listing.name.clone(),
            None => {
                made += 1;
                create(&mut client, place, number).await?
            }
        };
        first.get_or_insert(name);
    }
    done(if made == 0 {
        "listings are there".to_owned()
    } else {
        format!("{made} listings registered by {}", host.subject())
    });
    first.context("there is at least one place to seed")
}

async fn own_listings(client: &mut ListingServiceClient<Authorized>, host: &str) -> Result<Vec<Listing>> {
    let mut request = ListListingsRequest { page_size: 500, ..Default::default() };
    let mut found = Vec::new();
    for _ in 0..PAGES {
        let page = client.list_listings(request.clone()).await?.into_inner();
        found.extend(page.listings.into_iter().filter(|listing| listing.host == host));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// A fixed request id makes a repeat harmless. When it was used for something else (the place has changed between versions, or was
/// deleted since), a new one is the right answer.
async fn create(client: &mut ListingServiceClient<Authorized>, place: Listing, number: usize) -> Result<String> {
    let fixed = Uuid::from_u128(REQUEST_IDS + number as u128);
    for request_id in [fixed, Uuid::new_v4()] {
        let request = CreateListingRequest { listing: Some(place.clone()), request_id: request_id.to_string() };
        match client.create_listing(request).await {
            Ok(answer) => {
                let listing = answer.into_inner().listing.unwrap_or_default();
                if listing.state() == listing::State::Active {
                    return Ok(listing.name);
                }
            }
            Err(status)
                if status.code() == Code::InvalidArgument
                    && code_and_reason(&status).ends_with("/REQUEST_ID_REUSED") => {}
            Err(status) => return Err(status.into()),
        }
    }
    bail!("the listing {:?} cannot be made", place.display_name)
}

/// Three currencies (one without minor units would hide a factor of a hundred), three zones, both ways to earn miles.
fn places() -> Vec<Listing> {
    use reservation_policy::Mileage;
    vec![
        place("Hanok with a garden in Bukchon", ("KRW", 120_000, 0), 5, "Asia/Seoul", (Mileage::EarnGraceful, 120)),
        place("Harbour loft in Lisbon", ("EUR", 95, 500_000_000), 3, "Europe/Lisbon", (Mileage::EarnGraceful, 95)),
        place("Ryokan room in Kyoto", ("JPY", 24_000, 0), 2, "Asia/Tokyo", (Mileage::EarnStrict, 24)),
    ]
}

fn place(
    title: &str,
    price: (&str, i64, i32),
    capacity: i32,
    zone: &str,
    miles: (reservation_policy::Mileage, i64),
) -> Listing {
    Listing {
        display_name: title.to_owned(),
        description: "Seeded by `holdfast up`, to try things with.".to_owned(),
        kind: listing::Kind::Room.into(),
        price: Some(Money { currency_code: price.0.to_owned(), units: price.1, nanos: price.2 }),
        default_capacity: capacity,
        time_zone: zone.to_owned(),
        policy: Some(ReservationPolicy { mileage: miles.0.into(), mileage_points: miles.1 }),
        ..Listing::default()
    }
}
