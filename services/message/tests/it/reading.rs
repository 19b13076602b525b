//! Who reads which messages.

use mesh::fault::reason_of;
use proto::contract::Role;
use proto::message::v1::{GetMessageRequest, ListMessagesRequest, message as contract};
use tonic::Code;

use crate::harness::{Harness, list};
use crate::news::Booking;

/// Whoever may not see a message gets the answer of one that does not exist.
#[tokio::test(flavor = "multi_thread")]
async fn everybody_reads_their_own_messages_only() {
    let mut harness = Harness::start().await;
    let (mine, other) = (Booking::of("users/alice"), Booking::of("users/bob"));
    harness.publisher.publish([mine.made(), other.made()].concat()).await;
    let messages = harness.settled(contract::State::Sent, 4).await;
    let name = messages.iter().find(|message| message.recipient == "users/alice").expect("a message").name.clone();

    for (user, role, listed, reads) in [
        ("alice", Role::Customer, 2, true),
        ("alice", Role::Host, 2, true),
        ("bob", Role::Customer, 2, false),
        ("henry", Role::Host, 0, false),
        ("olga", Role::Operator, 4, true),
    ] {
        let mut client = harness.client(user, role);
        assert_eq!(list(client.clone(), "", 10).await.len(), listed, "{user} {role}");
        match client.get_message(GetMessageRequest { name: name.clone() }).await {
            Ok(answer) => {
                assert!(reads, "{user} {role}");
                assert_eq!(answer.into_inner().message.expect("a message").name, name);
            }
            Err(status) => {
                assert!(!reads, "{user} {role}");
                assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::NotFound, Some("MESSAGE_NOT_FOUND")));
            }
        }
        let of_mine = list(client, &mine.name(), 10).await;
        assert_eq!(of_mine.len(), if reads { 2 } else { 0 }, "{user} {role}");
    }
    let absent = GetMessageRequest { name: name.replace(&name[9..17], "00000000") };
    let status = harness.client("olga", Role::Operator).get_message(absent).await.expect_err("absent");
    assert_eq!(reason_of(&status).as_deref(), Some("MESSAGE_NOT_FOUND"));
    harness.message.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_one_another_newest_first() {
    let mut harness = Harness::start().await;
    let bookings: Vec<_> = (0..5).map(|_| Booking::of("users/alice")).collect();
    harness
        .publisher
        .publish(bookings.iter().flat_map(|booking| [booking.made(), booking.cancelled()].concat()).collect())
        .await;
    harness.settled(contract::State::Sent, 20).await;
    let alice = harness.client("alice", Role::Customer);
    let names: Vec<_> = list(alice.clone(), "", 3).await.into_iter().map(|message| message.name).collect();
    assert_eq!(names.len(), 20);
    assert!(names.is_sorted_by(|a, b| a > b));
    assert_eq!(list(alice.clone(), &bookings[2].name(), 3).await.len(), 4);

    let first = ListMessagesRequest { page_size: 3, ..ListMessagesRequest::default() };
    let token = alice.clone().list_messages(first).await.expect("a page").into_inner().next_page_token;
    let elsewhere = [
        (harness.client("bob", Role::Customer), String::new()),
        (harness.client("olga", Role::Operator), String::new()),
        (alice, bookings[0].name()),
    ];
    for (mut client, reservation) in elsewhere {
        let request = ListMessagesRequest { reservation, page_size: 3, page_token: token.clone() };
        let status = client.list_messages(request).await.expect_err("another list's token");
        assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::InvalidArgument, Some("PAGE_TOKEN_INVALID")));
    }
    harness.message.stop().await;
}
