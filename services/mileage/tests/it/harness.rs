//! A mileage service of the test's own.

use std::net::SocketAddr;
use std::time::Duration;

use mesh::client::Channel;
use mesh::fault::Fault;
use mesh::store::{Id, Store, StoreError};
use mesh::testing::{Running, TestMesh};
use mesh::value::{format_name, format_user};
use proto::contract::Role;
use proto::mileage::v1::accrual_service_client::AccrualServiceClient;
use proto::mileage::v1::mileage_service_client::MileageServiceClient;
use proto::mileage::v1::{
    AccrueMileageRequest, GetMileageAccountRequest, ListMileageEntriesRequest, MileageEntry, ReverseMileageRequest,
};
use tonic::{Request, Status};

pub(crate) struct Service {
    pub(crate) mesh: TestMesh,
    pub(crate) running: Running,
}

impl Service {
    pub(crate) async fn start(mesh: TestMesh) -> Self {
        let mileage_listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = mileage::Config { mileage_listen, mileage_reconcile_every_ms: 0 };
        let node = mesh.node();
        let running =
            Running::start(|listener, shutdown| async move { mileage::serve(&node, config, listener, shutdown).await })
                .await;
        Self { mesh, running }
    }

    pub(crate) fn accruals(&self) -> AccrualServiceClient<Channel> {
        AccrualServiceClient::new(self.mesh.service("mileage", self.running.address, "payment"))
    }

    pub(crate) fn reader(&self, subject: &str, role: Role) -> MileageServiceClient<Channel> {
        MileageServiceClient::new(self.mesh.user("mileage", self.running.address, subject, role))
    }

    pub(crate) async fn accrue(&self, request: &AccrueMileageRequest) -> Result<MileageEntry, Status> {
        let answer = self.accruals().accrue_mileage(patient(request.clone())).await?;
        Ok(answer.into_inner().mileage_entry.expect("an accrual has an entry"))
    }

    pub(crate) async fn reverse(&self, payment: &str) -> Result<Option<MileageEntry>, Status> {
        let request = ReverseMileageRequest { payment: payment.to_owned() };
        Ok(self.accruals().reverse_mileage(patient(request)).await?.into_inner().mileage_entry)
    }

    pub(crate) async fn balance(&self, user: &str) -> i64 {
        let request = GetMileageAccountRequest { name: format!("users/{user}/mileageAccount") };
        let answer = self.reader("ops", Role::Operator).get_mileage_account(request).await.expect("operators may read");
        answer.into_inner().mileage_account.expect("always there").balance
    }

    pub(crate) async fn entries(&self, user: &str) -> Vec<MileageEntry> {
        let request = ListMileageEntriesRequest { parent: format_user(user), ..Default::default() };
        let answer =
            self.reader("ops", Role::Operator).list_mileage_entries(request).await.expect("operators may read");
        answer.into_inner().mileage_entries
    }

    /// Stops the service and asks its ledger for broken rules.
    pub(crate) async fn violations(self) -> Vec<String> {
        let database = self.mesh.node().data.database(mileage::NAME);
        self.running.stop().await;
        let store = Store::open(&database, mileage::NAME, mileage::MIGRATIONS).expect("the database opens");
        store.read(|conn| Ok::<_, StoreError>(mileage::audit::violations(conn)?)).await.expect("the audit reads")
    }
}

/// With the longest time the contract allows, for crowds on a busy machine.
pub(crate) fn patient<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(10));
    request
}

pub(crate) fn accrual(user: &str, points: i64) -> AccrueMileageRequest {
    AccrueMileageRequest {
        payment: format_name("payments", Id::generate()),
        reservation: format_name("reservations", Id::generate()),
        customer: format_user(user),
        points,
    }
}

pub(crate) fn reason(status: &Status) -> String {
    Fault::from_status(status).reason().to_owned()
}
