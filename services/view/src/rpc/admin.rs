//! Rebuilds on the wire, for operators.

use futures_util::stream::{self, BoxStream, StreamExt as _};
use mesh::fault::{Chain, Fault};
use mesh::identity::principal;
use mesh::replay::ReplayError;
use mesh::store::StoreError;
use proto::view::v1::difference::Kind;
use proto::view::v1::rebuild_views_response::Phase;
use proto::view::v1::view_admin_service_server::ViewAdminService;
use proto::view::v1::{Difference, RebuildViewsRequest, RebuildViewsResponse, TableComparison};
use tonic::{Request, Response, Status};

use super::RETRY_AFTER;
use crate::rebuild::{Error, Progress, Rebuilds, Wish};
use crate::store::swap::{Comparison, SwapError, Wrong};

const DEFAULT_SAMPLES: i64 = 5;

/// Serves `ViewAdminService`.
pub(crate) struct Admin(pub(crate) Rebuilds);

#[tonic::async_trait]
impl ViewAdminService for Admin {
    type RebuildViewsStream = BoxStream<'static, Result<RebuildViewsResponse, Status>>;

    async fn rebuild_views(
        &self,
        request: Request<RebuildViewsRequest>,
    ) -> Result<Response<Self::RebuildViewsStream>, Status> {
        let operator = principal(&request)?;
        let RebuildViewsRequest { swap, allow_loss, sample_size } = request.into_inner();
        let samples = if sample_size == 0 { DEFAULT_SAMPLES } else { sample_size.into() };
        tracing::info!(%operator, swap, allow_loss, "rebuilding the views");
        let told = self.0.begin(Wish { swap, allow_loss, samples }).map_err(Fault::from)?;
        let told = stream::unfold(told, async |mut told| told.recv().await.map(|next| (next, told)));
        let answers = told.map(|next| next.map(to_wire).map_err(|error| Fault::from(error).into()));
        Ok(Response::new(answers.boxed()))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let subject = "the views";
        match error {
            Error::InProgress => Self::aborted("REBUILD_IN_PROGRESS", "another rebuild is under way"),
            Error::Loss(events) => {
                let message = format!("{events} events that are served are in no stream any more, and would be lost");
                Self::precondition("EVENTS_WOULD_BE_LOST", "STREAM", subject, message)
                    .with("events", events.to_string())
            }
            Error::Replay(ReplayError::Pruned(stream)) => {
                let message = format!("the stream {stream} has not all of its events any more");
                Self::precondition("STREAM_PRUNED", "STREAM", subject, message).with("stream", stream)
            }
            Error::Replay(error) => {
                tracing::warn!(error = %Chain(&error), "the streams cannot be read");
                Self::unavailable("BROKER_UNAVAILABLE", "the streams cannot be read now", RETRY_AFTER)
            }
            Error::Ending | Error::Abandoned => {
                Self::unavailable("SHUTTING_DOWN", "the service ends; nothing was changed", RETRY_AFTER)
            }
            Error::Store(error) | Error::Swap(SwapError::Store(error)) => store_fault(&error),
            error @ (Error::Open(_) | Error::Swap(SwapError::Lost | SwapError::Fold(_))) => {
                tracing::warn!(error = %Chain(&error), "the views cannot be rebuilt");
                Self::unavailable("STORE_UNAVAILABLE", "the rebuild could not go on; nothing was changed", RETRY_AFTER)
            }
        }
    }
}

fn store_fault(error: &StoreError) -> Fault {
    tracing::warn!(error = %Chain(error), "the views cannot be rebuilt");
    Fault::unavailable("STORE_UNAVAILABLE", "the views cannot be rebuilt now", RETRY_AFTER)
}

fn to_wire(progress: Progress) -> RebuildViewsResponse {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    match progress {
        Progress::Replaying { stream, replayed, events, skipped } => RebuildViewsResponse {
            phase: Phase::Replaying.into(),
            stream: stream.to_owned(),
            replayed_count: number(replayed),
            event_count: number(events),
            skipped_count: number(skipped),
            ..RebuildViewsResponse::default()
        },
        Progress::Compared { tables, skipped } => RebuildViewsResponse {
            phase: Phase::Compared.into(),
            skipped_count: number(skipped),
            tables: tables.into_iter().map(table).collect(),
            ..RebuildViewsResponse::default()
        },
        Progress::Swapped => RebuildViewsResponse { phase: Phase::Swapped.into(), ..RebuildViewsResponse::default() },
    }
}

fn table(found: Comparison) -> TableComparison {
    let sample = |(key, wrong)| {
        let kind = match wrong {
            Wrong::Extra => Kind::Extra,
            Wrong::Missing => Kind::Missing,
            Wrong::Different => Kind::Different,
        };
        Difference { key, kind: kind.into() }
    };
    TableComparison {
        table: found.table.to_owned(),
        served_count: found.served,
        rebuilt_count: found.rebuilt,
        extra_count: found.extra,
        missing_count: found.missing,
        different_count: found.different,
        samples: found.samples.into_iter().map(sample).collect(),
    }
}
