//! Accounts and entries, and who may see them.

use mesh::store::{DatabaseUrl, Exec, Store, StoreError};
use mesh::testing::{TestMesh, all_pages};
use proto::contract::Role;
use proto::mileage::v1::{GetMileageAccountRequest, ListMileageEntriesRequest};
use tonic::Code;

use crate::harness::{Service, accrual, reason};

#[tokio::test]
async fn customers_see_their_own_miles_and_operators_everybodys() {
    let service = Service::start(TestMesh::without_broker()).await;
    service.accrue(&accrual("alice", 5)).await.expect("accrues");
    let check = async |caller: &str, role, user: &str, expected: Result<i64, Code>| {
        let request = GetMileageAccountRequest { name: format!("users/{user}/mileageAccount") };
        let answer = service.reader(caller, role).get_mileage_account(request).await;
        let found = answer
            .map(|answer| answer.into_inner().mileage_account.expect("always there").balance)
            .map_err(|status| status.code());
        assert_eq!(found, expected, "{caller} asks about {user}");
        let request = ListMileageEntriesRequest { parent: format!("users/{user}"), ..Default::default() };
        let answer = service.reader(caller, role).list_mileage_entries(request).await;
        let found = answer
            .map(|answer| answer.into_inner().mileage_entries.iter().map(|entry| entry.points).sum())
            .map_err(|status| status.code());
        assert_eq!(found, expected, "{caller} lists {user}");
    };
    check("alice", Role::Customer, "me", Ok(5)).await;
    check("alice", Role::Customer, "alice", Ok(5)).await;
    check("bob", Role::Customer, "me", Ok(0)).await;
    check("ops", Role::Operator, "alice", Ok(5)).await;
    check("ops", Role::Operator, "nobody", Ok(0)).await;
    // Whether the other exists cannot be told from the answer.
    check("bob", Role::Customer, "alice", Err(Code::PermissionDenied)).await;
    check("bob", Role::Customer, "nobody", Err(Code::PermissionDenied)).await;
}

#[tokio::test]
async fn entries_come_in_pages_newest_first() {
    let service = Service::start(TestMesh::without_broker()).await;
    for points in 1..=5 {
        service.accrue(&accrual("alice", points)).await.expect("accrues");
    }
    let mut client = service.reader("alice", Role::Customer);
    let entries = all_pages(async |page_token| {
        let request = ListMileageEntriesRequest { parent: "users/me".to_owned(), page_size: 2, page_token };
        let page = client.list_mileage_entries(request).await.expect("lists").into_inner();
        (page.mileage_entries, page.next_page_token)
    })
    .await;
    let found: Vec<_> = entries.iter().map(|entry| (entry.points, entry.balance)).collect();
    assert_eq!(found, [(5, 15), (4, 10), (3, 6), (2, 3), (1, 1)]);
    let request =
        ListMileageEntriesRequest { parent: "users/me".to_owned(), page_size: 2, page_token: "bogus".to_owned() };
    assert_eq!(reason(&client.list_mileage_entries(request).await.expect_err("refused")), "PAGE_TOKEN_INVALID");
}

#[tokio::test]
async fn users_cannot_write_the_ledger() {
    let service = Service::start(TestMesh::without_broker()).await;
    for role in [Role::Customer, Role::Operator] {
        let channel = service.mesh.user("mileage", service.running.address, "alice", role);
        let mut client = proto::mileage::v1::accrual_service_client::AccrualServiceClient::new(channel);
        let refused = client.accrue_mileage(accrual("alice", 1_000)).await.expect_err("refused");
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
}

#[tokio::test]
async fn the_audit_notices_what_was_tampered_with() {
    let service = Service::start(TestMesh::without_broker()).await;
    let (kept, lost) = (accrual("alice", 5), accrual("bob", 7));
    service.accrue(&kept).await.expect("accrues");
    service.accrue(&lost).await.expect("accrues");
    service.reverse(&lost.payment).await.expect("reverses");
    let database = service.mesh.node().data.database(mileage::NAME);
    service.running.stop().await;
    let store = Store::open(&database, mileage::NAME, mileage::MIGRATIONS).expect("the database opens");
    let tamper = async |sql: &'static str| {
        store
            .write(move |conn| Ok::<_, StoreError>(diesel::sql_query(sql).exec(conn)?))
            .await
            .expect("the row is there");
        store.read(|conn| Ok::<_, StoreError>(mileage::audit::violations(conn)?)).await.expect("the audit reads").len()
    };
    assert_eq!(tamper("UPDATE accounts SET balance = balance + 1 WHERE customer = 'alice'").await, 1);
    assert_eq!(tamper("DELETE FROM accounts WHERE customer = 'alice'").await, 1);
    // Whoever can do this can do anything.
    let gate = match database {
        DatabaseUrl::Sqlite(_) => "DROP TRIGGER entries_no_delete",
        DatabaseUrl::Postgres(_) => "DROP TRIGGER entries_append_only ON entries",
    };
    assert_eq!(tamper(gate).await, 1);
    assert_eq!(tamper("DELETE FROM entries WHERE customer = 'bob' AND kind = 1").await, 3);
}
