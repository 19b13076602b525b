//! How far the service's events are published.

use proto::mesh::v1::outbox_service_server::OutboxService;
use proto::mesh::v1::{GetOutboxRequest, GetOutboxResponse, Outbox};
use tonic::{Request, Response, Status};

use super::{Admin, store_fault};
use crate::outbox;
use crate::store::StoreError;

#[tonic::async_trait]
impl OutboxService for Admin {
    async fn get_outbox(&self, _: Request<GetOutboxRequest>) -> Result<Response<GetOutboxResponse>, Status> {
        let read = self.0.store.read(|conn| {
            let (waiting_count, oldest) = outbox::backlog(conn)?;
            Ok::<_, StoreError>(Outbox {
                service: String::new(),
                waiting_count,
                oldest_waiting_time: oldest.map(Into::into),
                kept_count: outbox::kept(conn)?,
                stream_sequence: outbox::stream_sequence(conn)?,
                broker_connected: false,
            })
        });
        let rows = read.await.map_err(store_fault)?;
        let (service, broker_connected) = (self.0.service.to_owned(), self.0.bus.is_connected());
        Ok(Response::new(GetOutboxResponse { outbox: Some(Outbox { service, broker_connected, ..rows }) }))
    }
}
