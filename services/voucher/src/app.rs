//! Use cases: issue, cancel, read.

use diesel::QueryResult;
use mesh::crash_point;
use mesh::event::{NewEvent, Received};
use mesh::outbox;
use mesh::store::{Conn, Id, Store, StoreError};
use mesh::value::Page;
use proto::contract::Event;
use proto::voucher::v1::{VoucherCancelled, VoucherIssued};

use crate::NAME;
use crate::domain::Voucher;
use crate::rpc;
use crate::store;

/// Whose vouchers are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// All of them.
    Everyone,
    /// This customer's.
    Customer(String),
    /// Those of this host's listings.
    Host(String),
}

/// Issues the voucher, with the event, unless its reservation had one or is cancelled.
pub(crate) fn issue(conn: &mut Conn, voucher: &Voucher, cause: &Received) -> QueryResult<()> {
    if !store::issue(conn, voucher)? {
        return Ok(());
    }
    let issued = VoucherIssued { voucher: Some(rpc::to_wire(voucher)) };
    outbox::push(conn, NAME, &event(&issued, voucher, cause))?;
    crash_point!("voucher.issue.uncommitted");
    Ok(())
}

/// Makes the reservation's voucher void, with the event. If it has none, it never will: `tombstone` takes its place.
pub(crate) fn cancel(conn: &mut Conn, tombstone: &Voucher, cause: &Received) -> QueryResult<()> {
    let Some(voucher) = store::cancel(conn, tombstone)? else { return Ok(()) };
    let cancelled = VoucherCancelled { voucher: Some(rpc::to_wire(&voucher)) };
    outbox::push(conn, NAME, &event(&cancelled, &voucher, cause))?;
    crash_point!("voucher.cancellation.uncommitted");
    Ok(())
}

fn event<E: Event>(event: &E, voucher: &Voucher, cause: &Received) -> NewEvent {
    let correlation = voucher.reserved.reservation.to_string();
    NewEvent::of(event, Id::generate(), voucher.version, &correlation, None, voucher.updated_at).because_of(cause)
}

/// A voucher, if there is one.
pub(crate) async fn find(store: &Store, id: Id) -> Result<Option<Voucher>, StoreError> {
    store.read(move |conn| Ok(store::find(conn, id)?)).await
}

/// A page of vouchers, newest first, with one more when there is another page.
pub(crate) async fn list(store: &Store, whose: Whose, page: Page) -> Result<Vec<Voucher>, StoreError> {
    store.read(move |conn| Ok(store::list(conn, &whose, &page)?)).await
}
