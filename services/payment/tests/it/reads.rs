//! Reading payments, and who may.

use std::time::Duration;

use mesh::store::{Conn, Exec, Id, Micros, Store, StoreError};
use mesh::testing::all_pages;
use mesh::value::format_name;
use proto::contract::Role;
use proto::payment::v1::charge_service_client::ChargeServiceClient;
use proto::payment::v1::{ChargePaymentRequest, GetPaymentRequest, ListPaymentsRequest};
use tonic::Code;

use crate::harness::{Service, order, reason};

#[tokio::test]
async fn customers_see_their_own_payments_and_operators_all() {
    let service = Service::alone().await;
    let payment = service.charge(&order("pm_card_visa")).await.expect("charges");
    let absent = format_name("payments", Id::generate());
    let check = async |caller: &str, role, name: &str, expected: Code| {
        let answer = service.reader(caller, role).get_payment(GetPaymentRequest { name: name.to_owned() }).await;
        let code = answer.as_ref().err().map_or(Code::Ok, tonic::Status::code);
        assert_eq!(code, expected, "{caller} asks for {name}");
        if let Err(status) = answer {
            assert_eq!(reason(&status), "PAYMENT_NOT_FOUND");
        }
    };
    check("alice", Role::Customer, &payment.name, Code::Ok).await;
    check("ops", Role::Operator, &payment.name, Code::Ok).await;
    check("mallory", Role::Customer, &payment.name, Code::NotFound).await;
    check("mallory", Role::Customer, &absent, Code::NotFound).await;
    check("ops", Role::Operator, &absent, Code::NotFound).await;
}

#[tokio::test]
async fn lists_are_the_callers_own_newest_first_in_pages() {
    let service = Service::alone().await;
    let mut names = Vec::new();
    for customer in ["users/alice", "users/bob", "users/alice", "users/alice"] {
        let request = ChargePaymentRequest { customer: customer.to_owned(), ..order("pm_card_visa") };
        names.push(service.charge(&request).await.expect("charges").name);
    }
    let list = async |caller: &str, role| {
        let mut client = service.reader(caller, role);
        all_pages(async |page_token| {
            let request = ListPaymentsRequest { page_size: 2, page_token };
            let page = client.list_payments(request).await.expect("lists").into_inner();
            (page.payments.into_iter().map(|payment| payment.name).collect(), page.next_page_token)
        })
        .await
    };
    assert_eq!(list("alice", Role::Customer).await, [names[3].clone(), names[2].clone(), names[0].clone()]);
    assert_eq!(list("bob", Role::Customer).await, [names[1].clone()]);
    assert_eq!(list("ops", Role::Operator).await.len(), 4);
    let bogus = ListPaymentsRequest { page_size: 2, page_token: "bogus".to_owned() };
    let refused = service.reader("alice", Role::Customer).list_payments(bogus).await.expect_err("refused");
    assert_eq!(reason(&refused), "PAGE_TOKEN_INVALID");
}

#[tokio::test]
async fn users_cannot_charge() {
    let service = Service::alone().await;
    for role in [Role::Customer, Role::Host, Role::Operator] {
        let mut client = ChargeServiceClient::new(service.mesh.user("payment", service.running.address, "alice", role));
        assert_eq!(
            client.charge_payment(order("pm_card_visa")).await.expect_err("refused").code(),
            Code::PermissionDenied
        );
    }
    assert_eq!(service.kinds(), []);
}

#[tokio::test]
async fn the_audit_notices_what_was_tampered_with() {
    let service = Service::alone().await;
    service.charge(&order("pm_card_visa")).await.expect("charges");
    service.charge_within(&order("pm_sim_unavailable"), Duration::from_millis(200)).await.expect_err("down");
    let database = service.mesh.node().data.database(payment::NAME);
    service.running.stop().await;
    let store = Store::open(&database, payment::NAME, payment::MIGRATIONS).expect("the database opens");
    let violations = async |sql: &'static str, settled_before: Micros| {
        store
            .write(move |conn| Ok::<_, StoreError>(diesel::sql_query(sql).exec(conn)?))
            .await
            .expect("the rows are there");
        let read = move |conn: &mut Conn| Ok::<_, StoreError>(payment::audit::violations(conn, settled_before)?);
        store.read(read).await.expect("the audit reads").len()
    };
    let (ever, never) = (Micros(i64::MAX), Micros(0));
    assert_eq!(violations("UPDATE payments SET version = version", ever).await, 1, "the one that waits");
    assert_eq!(violations("UPDATE payments SET mileage = 1 WHERE state = 2", ever).await, 2);
    assert_eq!(violations("UPDATE payments SET provider_answer = NULL", ever).await, 3);
    assert_eq!(
        violations("UPDATE payments SET version = version", never).await,
        0,
        "all of it may still be on its way"
    );
}
