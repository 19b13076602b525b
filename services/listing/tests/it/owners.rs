//! Who may do what: own things only, and another's looks as if it did not exist.

use mesh::fault::reason_of;
use mesh::store::Id;
use mesh::testing::TestMesh;
use proto::contract::Role;
use proto::listing::v1 as pb;
use tonic::{Code, Response, Status};

use crate::harness::{Server, hold_message, listing_message, range_message};

fn outcome<T>(answer: Result<Response<T>, Status>) -> (Code, String) {
    answer.map_or_else(|status| (status.code(), reason_of(&status).unwrap_or_default()), |_| (Code::Ok, String::new()))
}

async fn commands(server: &Server, subject: &str, role: Role, name: &str) -> Vec<(Code, String)> {
    let client = server.listings(subject, role);
    let listing = Some(pb::Listing { name: name.to_owned(), ..listing_message() });
    let (name, dates) = (name.to_owned(), range_message(0, 1));
    vec![
        outcome(client.clone().update_listing(pb::UpdateListingRequest { listing, ..Default::default() }).await),
        outcome(
            client
                .clone()
                .set_capacity(pb::SetCapacityRequest { name: name.clone(), dates, capacity: 3, ..Default::default() })
                .await,
        ),
        outcome(client.clone().delete_listing(pb::DeleteListingRequest { name, ..Default::default() }).await),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_host_changes_a_listing() {
    let server = Server::start(TestMesh::without_broker()).await;
    let name = server.listing().await.name;
    let absent = format!("listings/{}", Id::generate());
    let nothing = vec![(Code::NotFound, "LISTING_NOT_FOUND".to_owned()); 3];
    assert_eq!(commands(&server, "mallory", Role::Host, &name).await, nothing);
    assert_eq!(commands(&server, "mallory", Role::Host, &absent).await, nothing);
    assert_eq!(commands(&server, "hana", Role::Host, &absent).await, nothing);
    for role in [Role::Customer, Role::Operator] {
        let denied = commands(&server, "hana", role, &name).await;
        assert!(denied.iter().all(|(code, _)| *code == Code::PermissionDenied), "{denied:?}");
    }
    let allowed = commands(&server, "hana", Role::Host, &name).await;
    assert!(allowed.iter().all(|(code, _)| *code == Code::Ok), "{allowed:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_reads_and_nobody_but_reservation_holds() {
    let server = Server::start(TestMesh::without_broker()).await;
    let name = server.listing().await.name;
    for (subject, role) in [("chris", Role::Customer), ("other", Role::Host), ("olga", Role::Operator)] {
        let client = server.listings(subject, role);
        let read = client.clone().get_listing(pb::GetListingRequest { name: name.clone() }).await;
        assert_eq!(outcome(read).0, Code::Ok, "{role}");
        let create =
            pb::CreateListingRequest { listing: Some(listing_message()), request_id: Id::generate().to_string() };
        let expected = if role == Role::Host { Code::Ok } else { Code::PermissionDenied };
        assert_eq!(outcome(client.clone().create_listing(create).await).0, expected, "{role}");
        let hold = server.holds_as_user(subject, role).place_hold(hold_message(&name)).await;
        assert_eq!(outcome(hold).0, Code::PermissionDenied, "{role}");
    }
    for (service, expected) in [("payment", Code::PermissionDenied), ("reservation", Code::Ok)] {
        assert_eq!(outcome(server.holds_as(service).place_hold(hold_message(&name)).await).0, expected, "{service}");
    }
    server.stop().await;
}
