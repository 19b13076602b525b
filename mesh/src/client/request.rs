//! A request that can be sent again.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri, Version};
use http_body::{Body as _, Frame};
use tonic::Status;
use tonic::body::Body;

/// Larger bodies are sent once: what is kept of all calls in flight has to stay small. Linkerd's limit.
const KEPT_BYTES: usize = 64 * 1024;

/// What a request was before it was sent. Extensions are of this process, and not kept.
pub(super) struct Kept {
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Kept {
    pub(super) fn into_request(self) -> Request<Body> {
        let mut request = Request::new(whole(self.body));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

/// The request, and what is kept of it if all of it is there already, as that of a unary call is.
pub(super) fn keep(request: Request<Body>) -> (Request<Body>, Option<Kept>) {
    let (head, body) = request.into_parts();
    match gather(body) {
        Ok(body) => {
            let kept = (head.method == Method::POST).then(|| Kept {
                uri: head.uri.clone(),
                headers: head.headers.clone(),
                body: body.clone(),
            });
            (Request::from_parts(head, whole(body)), kept)
        }
        Err(body) => (Request::from_parts(head, body), None),
    }
}

/// A body that is one piece, complete, and not too large to keep, without waiting for it; otherwise one of what came and what will.
pub(super) fn gather(mut body: Body) -> Result<Bytes, Body> {
    let first = look(&mut body);
    let second = if matches!(&first, Some(Some(Ok(frame))) if frame.is_data()) { look(&mut body) } else { None };
    match (first, second) {
        (Some(Some(Ok(frame))), Some(None)) => {
            let data = frame.into_data().unwrap_or_default();
            if data.len() <= KEPT_BYTES { Ok(data) } else { Err(whole(data)) }
        }
        (first, second) => Err(Body::new(Resumed { begun: [first, second], rest: body })),
    }
}

/// A body of one piece.
pub(super) fn whole(data: Bytes) -> Body {
    Body::new(Whole(Some(data)))
}

/// What is there now; nothing if it has to be waited for.
fn look(body: &mut Body) -> Option<Polled> {
    match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(polled) => Some(polled),
        Poll::Pending => None,
    }
}

/// A body in one piece. Its length is not told beforehand: messages say theirs, and a header fewer is sent.
struct Whole(Option<Bytes>);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|whole| Ok(Frame::data(whole))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

type Polled = Option<Result<Frame<Bytes>, Status>>;

/// A body whose beginning was looked at.
struct Resumed {
    begun: [Option<Polled>; 2],
    rest: Body,
}

impl http_body::Body for Resumed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        match self.begun.iter_mut().find_map(Option::take) {
            Some(begun) => Poll::Ready(begun),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.begun.iter().all(Option::is_none) && self.rest.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::poll_fn;

    use super::*;

    /// A body of these pieces; where there is none it has to be waited for once.
    struct Pieces(VecDeque<Option<&'static str>>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
            match self.0.pop_front() {
                Some(Some(piece)) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))),
                Some(None) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                None => Poll::Ready(None),
            }
        }
    }

    async fn read(request: Request<Body>) -> Vec<u8> {
        let mut body = request.into_body();
        let mut all = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            all.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        all
    }

    #[tokio::test]
    async fn what_is_there_in_one_piece_can_be_sent_again_and_all_else_is_sent_once() {
        let long: &'static str = "x".repeat(KEPT_BYTES + 1).leak();
        let check = async |pieces: &[Option<&'static str>], is_kept: bool| {
            let mut request = Request::new(Body::new(Pieces(pieces.iter().copied().collect())));
            *request.method_mut() = Method::POST;
            request.headers_mut().insert("authorization", "me".parse().unwrap());
            let (request, kept) = keep(request);
            let whole = pieces.iter().flatten().copied().collect::<String>();
            assert_eq!(kept.is_some(), is_kept, "{pieces:?}");
            for request in kept.map(Kept::into_request).into_iter().chain([request]) {
                assert_eq!(
                    (request.method(), &request.headers()["authorization"]),
                    (&Method::POST, &"me".parse().unwrap())
                );
                assert_eq!(read(request).await, whole.as_bytes(), "{pieces:?}");
            }
        };
        check(&[Some("all")], true).await;
        check(&[Some("")], true).await;
        check(&[Some(long)], false).await;
        check(&[], false).await;
        check(&[None, Some("all")], false).await;
        check(&[Some("a"), None, Some("b")], false).await;
        check(&[Some("a"), Some("b"), Some("c")], false).await;
    }
}
