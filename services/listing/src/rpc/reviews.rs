//! `ReviewService`.

use mesh::fault::Fault;
use mesh::value::{Page, PageSize, update_paths};
use proto::listing::v1::review_service_server::ReviewService;
use proto::listing::v1::{
    CreateReviewRequest, CreateReviewResponse, DeleteReviewRequest, DeleteReviewResponse, GetReviewRequest,
    GetReviewResponse, ListReviewsRequest, ListReviewsResponse, UpdateReviewRequest, UpdateReviewResponse,
};
use tonic::{Request, Response, Status};

use super::{Rpc, caller, optional_request, parse, request, told};
use crate::wire;

#[tonic::async_trait]
impl ReviewService for Rpc {
    async fn create_review(
        &self,
        call: Request<CreateReviewRequest>,
    ) -> Result<Response<CreateReviewResponse>, Status> {
        Ok(Response::new(self.write_review(call).await?))
    }

    async fn get_review(&self, call: Request<GetReviewRequest>) -> Result<Response<GetReviewResponse>, Status> {
        Ok(Response::new(self.read_review(call).await?))
    }

    async fn list_reviews(&self, call: Request<ListReviewsRequest>) -> Result<Response<ListReviewsResponse>, Status> {
        Ok(Response::new(self.read_reviews(call).await?))
    }

    async fn update_review(
        &self,
        call: Request<UpdateReviewRequest>,
    ) -> Result<Response<UpdateReviewResponse>, Status> {
        Ok(Response::new(self.rewrite_review(call).await?))
    }

    async fn delete_review(
        &self,
        call: Request<DeleteReviewRequest>,
    ) -> Result<Response<DeleteReviewResponse>, Status> {
        Ok(Response::new(self.remove_review(call).await?))
    }
}

impl Rpc {
    async fn write_review(&self, call: Request<CreateReviewRequest>) -> Result<CreateReviewResponse, Fault> {
        let author = caller(&call)?;
        let mut message = call.into_inner();
        let listing = parse::listing_id("parent", &message.parent)?;
        let request_id = std::mem::take(&mut message.request_id);
        let request = request(&author, "CreateReview", &request_id, &message);
        let content = message.review.unwrap_or_default().content;
        let review = self.app.create_review(listing, &author, content, request).await?;
        Ok(CreateReviewResponse { review: Some(wire::review(&review)) })
    }

    async fn read_review(&self, call: Request<GetReviewRequest>) -> Result<GetReviewResponse, Fault> {
        let review = self.app.get_review(parse::review_key("name", &call.get_ref().name)?).await?;
        Ok(GetReviewResponse { review: Some(wire::review(&review)) })
    }

    async fn read_reviews(&self, call: Request<ListReviewsRequest>) -> Result<ListReviewsResponse, Fault> {
        let message = call.into_inner();
        let listing = parse::listing_id("parent", &message.parent)?;
        let page =
            Page::parse(PageSize::STANDARD, message.page_size, &message.page_token, &["reviews", &message.parent])?;
        let mut reviews = self.app.list_reviews(listing, page).await?;
        let next_page_token = page.cut(&mut reviews, |review| review.id);
        Ok(ListReviewsResponse { reviews: reviews.iter().map(wire::review).collect(), next_page_token })
    }

    async fn rewrite_review(&self, call: Request<UpdateReviewRequest>) -> Result<UpdateReviewResponse, Fault> {
        let author = caller(&call)?;
        let mut message = call.into_inner();
        let request_id = std::mem::take(&mut message.request_id);
        let request = optional_request(&author, "UpdateReview", &request_id, &message);
        update_paths(message.update_mask.as_ref(), &["content"])?;
        let review = message.review.unwrap_or_default();
        let key = parse::review_key("review.name", &review.name)?;
        let answer = self.app.update_review(key, &author, review.content, request).await?;
        Ok(UpdateReviewResponse { review: Some(told(answer, wire::review)) })
    }

    async fn remove_review(&self, call: Request<DeleteReviewRequest>) -> Result<DeleteReviewResponse, Fault> {
        let author = caller(&call)?;
        let mut message = call.into_inner();
        let request_id = std::mem::take(&mut message.request_id);
        let request = optional_request(&author, "DeleteReview", &request_id, &message);
        let key = parse::review_key("name", &message.name)?;
        self.app.delete_review(key, &author, request).await?;
        Ok(DeleteReviewResponse {})
    }
}
