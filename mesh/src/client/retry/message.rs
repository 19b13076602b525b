//! A request's message, kept to be sent again.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;

/// A larger one is sent once: what is kept for repeating is memory that nobody asked for. Linkerd's limit.
const LIMIT_BYTES: usize = 64 * 1024;

pub(super) enum Message {
    /// All of it, as often as wanted.
    Whole(Replay),
    /// Too large to keep: the same body, once.
    TooLarge(Body),
}

/// Reads a body to its end, or to the limit. That of a unary call is ready at once.
pub(super) async fn read(mut body: Body) -> Message {
    let mut kept = Kept::default();
    while let Some(frame) = next(&mut body).await {
        let data = match frame.map(Frame::into_data) {
            Ok(Ok(data)) => data,
            // Requests have no trailers; an error ends the call wherever it is sent.
            Ok(Err(_)) => continue,
            Err(error) => return Message::TooLarge(kept.followed_by(Rest::Broken(Some(error)))),
        };
        kept.add(data);
        if kept.len() > LIMIT_BYTES {
            return Message::TooLarge(kept.followed_by(Rest::Body(body)));
        }
    }
    Message::Whole(Replay { data: kept.into_bytes() })
}

async fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, Status>> {
    std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *body), cx)).await
}

/// One piece is kept as it is; only more than one is copied together.
#[derive(Default)]
struct Kept {
    first: Bytes,
    more: BytesMut,
}

impl Kept {
    fn add(&mut self, data: Bytes) {
        if self.first.is_empty() {
            self.first = data;
        } else {
            if self.more.is_empty() {
                self.more.extend_from_slice(&self.first);
            }
            self.more.extend_from_slice(&data);
        }
    }

    fn len(&self) -> usize {
        self.first.len().max(self.more.len())
    }

    fn into_bytes(self) -> Bytes {
        if self.more.is_empty() { self.first } else { self.more.freeze() }
    }

    fn followed_by(self, rest: Rest) -> Body {
        Body::new(Continued { begun: Replay { data: self.into_bytes() }, rest })
    }
}

/// One message as a body.
#[derive(Clone)]
pub(super) struct Replay {
    data: Bytes,
}

#[cfg(test)]
impl Replay {
    pub(super) fn of(data: Bytes) -> Self {
        Self { data }
    }
}

impl http_body::Body for Replay {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let data = std::mem::take(&mut self.data);
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty()
    }
}

/// What was read, and what comes after it.
struct Continued {
    begun: Replay,
    rest: Rest,
}

enum Rest {
    Body(Body),
    Broken(Option<Status>),
}

impl http_body::Body for Continued {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.begun.data.is_empty() {
            return Pin::new(&mut self.begun).poll_frame(cx);
        }
        match &mut self.rest {
            Rest::Body(body) => Pin::new(body).poll_frame(cx),
            Rest::Broken(error) => Poll::Ready(error.take().map(Err)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    struct Pieces(VecDeque<Result<Frame<Bytes>, Status>>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    fn body(sizes: &[usize]) -> (Body, Vec<u8>) {
        let pieces: Vec<Vec<u8>> =
            sizes.iter().enumerate().map(|(index, size)| vec![u8::try_from(index).unwrap(); *size]).collect();
        let frames = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from(piece.clone()))));
        (Body::new(Pieces(frames.collect())), pieces.concat())
    }

    async fn all(mut body: Body) -> Result<Vec<u8>, Status> {
        let mut all = Vec::new();
        while let Some(frame) = next(&mut body).await {
            all.extend_from_slice(&frame?.into_data().expect("data"));
        }
        Ok(all)
    }

    #[tokio::test]
    async fn what_is_not_too_large_is_the_same_each_time() {
        for sizes in [&[][..], &[5], &[5, 7, 9], &[LIMIT_BYTES], &[LIMIT_BYTES - 1, 1]] {
            let (body, expected) = body(sizes);
            let Message::Whole(message) = read(body).await else { panic!("{sizes:?} is not too large") };
            for _ in 0..3 {
                assert_eq!(all(Body::new(message.clone())).await.unwrap(), expected, "{sizes:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_too_large_is_passed_on_whole() {
        for sizes in [&[LIMIT_BYTES + 1][..], &[LIMIT_BYTES, 1, 5], &[1, 2, 3, 9 * LIMIT_BYTES, 4]] {
            let (body, expected) = body(sizes);
            let Message::TooLarge(body) = read(body).await else { panic!("{sizes:?} is too large") };
            assert_eq!(all(body).await.unwrap(), expected, "{sizes:?}");
        }
    }

    #[tokio::test]
    async fn what_breaks_is_passed_on_broken() {
        let frames = [Ok(Frame::data(Bytes::from_static(b"begun"))), Err(Status::cancelled("the caller left"))];
        let Message::TooLarge(body) = read(Body::new(Pieces(frames.into_iter().collect()))).await else {
            panic!("it is not whole")
        };
        assert_eq!(all(body).await.unwrap_err().message(), "the caller left");
    }
}
