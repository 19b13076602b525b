//! Who reads which vouchers.

use mesh::fault::reason_of;
use mesh::store::Id;
use mesh::value::format_name;
use proto::contract::Role;
use proto::reservation::v1::Reservation;
use proto::voucher::v1::{GetVoucherRequest, ListVouchersRequest};
use tonic::Code;

use crate::harness::{World, list};
use crate::reservations::{cancelled, confirmed, reservation};

/// Whoever may not see a voucher gets the answer of one that does not exist.
#[tokio::test(flavor = "multi_thread")]
async fn customers_read_their_own_hosts_their_listings_operators_all() {
    let mut world = World::new().await;
    let running = world.serve().await;
    let (mine, gone) = (reservation(), reservation());
    let other = Reservation { customer: "users/bob".to_owned(), host: "users/hugo".to_owned(), ..reservation() };
    // `settle` adds one of alice at hana's.
    world.settle(&running, [confirmed(&mine), confirmed(&other), cancelled(&gone)]).await;
    let name = world.vouchers(&running, &mine).await.remove(0).name;

    for (user, role, listed, reads) in [
        ("alice", Role::Customer, 2, true),
        ("alice", Role::Host, 0, false),
        ("bob", Role::Customer, 1, false),
        ("hana", Role::Host, 2, true),
        ("hana", Role::Customer, 0, false),
        ("hugo", Role::Host, 1, false),
        ("olga", Role::Operator, 3, true),
    ] {
        let mut client = world.client(&running, user, role);
        assert_eq!(list(client.clone(), 10).await.len(), listed, "{user} {role}");
        match client.get_voucher(GetVoucherRequest { name: name.clone() }).await {
            Ok(answer) => {
                assert!(reads, "{user} {role}");
                assert_eq!(answer.into_inner().voucher.expect("a voucher").name, name);
            }
            Err(status) => {
                assert!(!reads, "{user} {role}");
                assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::NotFound, Some("VOUCHER_NOT_FOUND")));
            }
        }
    }
    let mut client = world.client(&running, "olga", Role::Operator);
    let absent = GetVoucherRequest { name: format_name("vouchers", Id::generate()) };
    let status = client.get_voucher(absent).await.expect_err("absent");
    assert_eq!(reason_of(&status).as_deref(), Some("VOUCHER_NOT_FOUND"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_one_another_newest_first() {
    let mut world = World::new().await;
    let running = world.serve().await;
    let many: Vec<_> = (0..6).map(|_| reservation()).collect();
    world.settle(&running, many.iter().map(confirmed)).await;
    let alice = world.client(&running, "alice", Role::Customer);
    let names: Vec<_> = list(alice.clone(), 2).await.into_iter().map(|voucher| voucher.name).collect();
    assert_eq!(names.len(), 7);
    assert!(names.is_sorted_by(|a, b| a > b));

    let first = ListVouchersRequest { page_size: 2, page_token: String::new() };
    let token = alice.clone().list_vouchers(first).await.expect("a page").into_inner().next_page_token;
    for (user, role) in [("bob", Role::Customer), ("alice", Role::Host), ("olga", Role::Operator)] {
        let request = ListVouchersRequest { page_size: 2, page_token: token.clone() };
        let status = world.client(&running, user, role).list_vouchers(request).await.expect_err("another list's");
        assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::InvalidArgument, Some("PAGE_TOKEN_INVALID")));
    }
    running.stop().await;
}
