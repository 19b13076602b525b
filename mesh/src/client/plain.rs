//! A channel as any user of a mesh has one: tonic's own, without what services protect themselves and each other with. For tools that show what
//! is answered.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::Address;
use super::address::literal;
use super::connection::open;
use crate::tls::Stream;

/// The first byte of a TLS alert (RFC 8446, 5.1). HTTP/2 begins with the length of a SETTINGS frame, whose first byte is 0.
const ALERT: u8 = 21;

/// A channel to the service named `target` at `address`: one connection, to the first endpoint that takes it, made when first used and within
/// `limit`. Over TLS the endpoint proves to be that service.
#[must_use]
pub fn plain(target: &'static str, address: &Address, limit: Duration) -> Channel {
    let endpoint = Endpoint::from(address.uri()).connect_timeout(limit);
    let address = address.clone();
    let connector = service_fn(move |_: Uri| {
        let address = address.clone();
        async move { dial(target, &address).await.map(TokioIo::new) }
    });
    endpoint.connect_with_connector_lazy(connector)
}

/// # Errors
/// No endpoint takes the connection.
async fn dial(target: &str, address: &Address) -> io::Result<Dialled> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
    for origin in address.origins() {
        let found = match literal(origin) {
            Some(found) => vec![found],
            None => address.resolve(origin).await?,
        };
        for endpoint in found {
            match open(endpoint).await {
                Ok(stream) => {
                    let stream = address.secure(target, Stream::Plain(stream)).await?;
                    return Ok(Dialled { spoken: matches!(stream, Stream::Tls(_)), stream });
                }
                Err(error) => failure = io::Error::new(error.kind(), format!("{endpoint}: {error}")),
            }
        }
    }
    Err(failure)
}

/// A connection that tells what is wrong if a server will not talk without TLS.
struct Dialled {
    stream: Stream,
    spoken: bool,
}

/// It ended before the server said anything.
fn unheard() -> io::Error {
    io::Error::other("the server hung up unheard: it may speak TLS only, and there is no certificate to call with")
}

impl AsyncRead for Dialled {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if std::mem::replace(&mut self.spoken, true) {
            return Poll::Ready(read);
        }
        Poll::Ready(match buffer.filled().get(before) {
            Some(&ALERT) => {
                Err(io::Error::other("the server speaks TLS only, and there is no certificate to call with"))
            }
            None => Err(unheard()),
            Some(_) => read,
        })
    }
}

impl AsyncWrite for Dialled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(written.map_err(|error| if self.spoken { error } else { unheard() }))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
