//! gRPC out: conversions, ownership, and the one table from errors to answers.

use std::time::Duration;

use mesh::fault::{Chain, Fault, reason};
use mesh::identity::{Principal, principal};
use mesh::store::{Id, Store, StoreError};
use mesh::value::{Page, PageSize, format_name, format_user, id_of};
use proto::contract::Role;
use proto::voucher::v1::voucher_service_server::VoucherService;
use proto::voucher::v1::{
    self as wire, GetVoucherRequest, GetVoucherResponse, ListVouchersRequest, ListVouchersResponse,
};
use tonic::{Request, Response, Status};

use crate::app::{self, Whose};
use crate::domain::{State, Voucher};

/// When a caller whose read failed may come back.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Answers from the rows.
#[derive(Clone)]
pub(crate) struct Rpc(pub(crate) Store);

#[tonic::async_trait]
impl VoucherService for Rpc {
    async fn get_voucher(&self, request: Request<GetVoucherRequest>) -> Result<Response<GetVoucherResponse>, Status> {
        let caller = principal(&request)?;
        let name = request.into_inner().name;
        let found = match id_of("vouchers", &name) {
            Some(id) => app::find(&self.0, id).await.map_err(fault)?,
            None => None,
        };
        // Not there, or not the caller's: one answer, so that nobody learns which.
        let voucher = found
            .filter(|voucher| may_see(&caller, voucher))
            .ok_or_else(|| Fault::not_found("VOUCHER_NOT_FOUND", "holdfast.dev/Voucher", name))?;
        Ok(Response::new(GetVoucherResponse { voucher: Some(to_wire(&voucher)) }))
    }

    async fn list_vouchers(
        &self,
        request: Request<ListVouchersRequest>,
    ) -> Result<Response<ListVouchersResponse>, Status> {
        let whose = whose(&principal(&request)?)?;
        let request = request.into_inner();
        let (kind, subject) = match &whose {
            Whose::Everyone => ("everyone", ""),
            Whose::Customer(subject) => ("customer", subject.as_str()),
            Whose::Host(subject) => ("host", subject.as_str()),
        };
        let query = ["vouchers", kind, subject];
        let page = Page::parse(PageSize::STANDARD, request.page_size, &request.page_token, &query)?;
        let mut vouchers = app::list(&self.0, whose, page).await.map_err(fault)?;
        let next_page_token = page.cut(&mut vouchers, |voucher| voucher.id);
        Ok(Response::new(ListVouchersResponse { vouchers: vouchers.iter().map(to_wire).collect(), next_page_token }))
    }
}

fn whose(caller: &Principal) -> Result<Whose, Fault> {
    let subject = caller.user_id().ok_or_else(|| Fault::denied(reason::NOT_ALLOWED, "only users have vouchers"))?;
    Ok(if caller.has_role(Role::Operator) {
        Whose::Everyone
    } else if caller.has_role(Role::Customer) {
        Whose::Customer(subject.to_owned())
    } else {
        Whose::Host(subject.to_owned())
    })
}

fn may_see(caller: &Principal, voucher: &Voucher) -> bool {
    let is = |subject: &str| caller.user_id() == Some(subject);
    caller.has_role(Role::Operator)
        || (caller.has_role(Role::Customer) && is(&voucher.reserved.customer))
        || (caller.has_role(Role::Host) && is(&voucher.reserved.host))
}

fn fault(error: StoreError) -> Fault {
    match error {
        StoreError::Deadline => Fault::deadline_exceeded("the deadline passed before the vouchers were read"),
        cause => {
            tracing::warn!(error = %Chain(&cause), "the vouchers cannot be read");
            Fault::unavailable("STORE_UNAVAILABLE", "the vouchers cannot be read now", RETRY_AFTER)
        }
    }
}

/// `vouchers/{voucher}`.
fn name(id: Id) -> String {
    format_name("vouchers", id)
}

/// The voucher as callers and consumers see it.
pub(crate) fn to_wire(voucher: &Voucher) -> wire::Voucher {
    let state = match voucher.state {
        State::Issued => wire::voucher::State::Issued,
        State::Cancelled => wire::voucher::State::Cancelled,
    };
    let reserved = &voucher.reserved;
    wire::Voucher {
        name: name(voucher.id),
        reservation: format_name("reservations", reserved.reservation),
        customer: format_user(&reserved.customer),
        host: format_user(&reserved.host),
        listing: format_name("listings", reserved.listing),
        listing_display_name: reserved.listing_display_name.clone(),
        ticket_number: voucher.number.to_string(),
        state: state.into(),
        create_time: Some(voucher.created_at.into()),
        update_time: Some(voucher.updated_at.into()),
    }
}
