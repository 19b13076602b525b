//! A listing of each business, to try things with.

use anyhow::{Context as _, Result, bail};
use proto::google::r#type::Money;
use proto::listing::v1::reservation_policy::Mileage;
use proto::listing::v1::{CreateListingRequest, ListListingsRequest, Listing, listing};
use tonic::Code;
use uuid::Uuid;

use crate::api::{Authorized, Target};
use crate::business::Business;
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

/// One for each business. Three currencies (one with minor units: without, a factor of a hundred would hide), three zones.
fn places() -> Vec<Listing> {
    let mut hanok = place(Business::Airbnb, "Hanok with a garden in Bukchon", "Asia/Seoul", 5);
    hanok.policy.get_or_insert_default().mileage_points = 120;
    let mut loft = place(Business::Approval, "Harbour loft in Lisbon", "Europe/Lisbon", 3);
    loft.price = Some(Money { currency_code: "EUR".to_owned(), units: 95, nanos: 500_000_000 });
    let policy = loft.policy.get_or_insert_default();
    policy.mileage = Mileage::EarnGraceful.into();
    policy.mileage_points = 95;
    policy.max_per_person = 10;
    let mut resort = place(Business::Resort, "Hot spring resort in Hakone", "Asia/Tokyo", 10);
    resort.price = Some(Money { currency_code: "JPY".to_owned(), units: 24_000, nanos: 0 });
    let taxi = place(Business::Taxi, "Prime taxi in Seoul", "Asia/Seoul", 4);
    let hospital = place(Business::Screening, "Health screening at Hangang Hospital", "Asia/Seoul", 20);
    vec![hanok, loft, resort, taxi, hospital]
}

fn place(business: Business, title: &str, zone: &str, capacity: i32) -> Listing {
    Listing {
        display_name: title.to_owned(),
        description: "Seeded by `holdfast up`, to try things with.".to_owned(),
        time_zone: zone.to_owned(),
        region: zone.rsplit('/').next().unwrap_or_default().to_owned(),
        ..business.listing(capacity)
    }
}
