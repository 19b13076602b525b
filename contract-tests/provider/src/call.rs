//! Calls as bytes, so that anything can be sent, and where they go.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use futures_util::stream;
use http::Uri;
use http::uri::InvalidUri;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status};

/// No answer takes longer, unless the server hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_MAX_BYTES: usize = 64 * 1024 * 1024;

/// The addresses of the servers.
#[derive(Clone, Debug)]
pub struct Endpoints(BTreeMap<String, Server>);

/// Connections that add nothing of their own: tonic's would end a call at its deadline before the server can be seen to do so.
pub(crate) type Connections = Client<HttpConnector, Body>;

/// One server.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) address: String,
    /// Whom tokens for it are meant for, where its services do not tell.
    pub(crate) audience: Option<String>,
    pub(crate) origin: Uri,
    pub(crate) connections: Connections,
}

/// The text does not say where servers are.
#[derive(Debug, thiserror::Error)]
pub enum EndpointsError {
    /// Not `name address`.
    #[error("line {0} is not a service or a package, a space and an address")]
    Line(usize),
    /// Not `host:port`.
    #[error("{0} is no address")]
    Address(String, #[source] InvalidUri),
}

impl Endpoints {
    /// Every service at one address, `host:port`.
    ///
    /// # Errors
    /// It is none.
    pub fn one(address: &str) -> Result<Self, EndpointsError> {
        Ok(Self(BTreeMap::from([(String::new(), Server::at(address, None)?)])))
    }

    /// Lines of a service or a package, an address, and, where the package is not named after it, the server's name in tokens. Empty lines
    /// and those that begin with # say nothing.
    ///
    /// # Errors
    /// A line says something else.
    pub fn parse(text: &str) -> Result<Self, EndpointsError> {
        let lines = text.lines().map(str::trim).enumerate();
        let said = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let servers = said.map(|(index, line)| {
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some(name), Some(address), audience, None) => Ok((name.to_owned(), Server::at(address, audience)?)),
                _ => Err(EndpointsError::Line(index + 1)),
            }
        });
        servers.collect::<Result<_, _>>().map(Self)
    }

    /// The servers, each once.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Server> {
        self.0.values()
    }

    /// The server of a service: the longest name that it begins with.
    pub(crate) fn of(&self, service: &str) -> Option<&Server> {
        let is_of = |name: &str| {
            service.strip_prefix(name).is_some_and(|rest| name.is_empty() || rest.is_empty() || rest.starts_with('.'))
        };
        self.0.iter().filter(|(name, _)| is_of(name)).max_by_key(|(name, _)| name.len()).map(|(_, server)| server)
    }
}

fn connections() -> Connections {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).http2_only(true).build(connector)
}

/// What is sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    /// `package.Service/Method`.
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) messages: Vec<Bytes>,
    /// The header `grpc-timeout`.
    pub(crate) timeout: Option<&'static str>,
    /// The W3C trace id, 32 hex digits.
    pub(crate) trace: Option<String>,
    /// A stream is left after so many messages; 0 reads to its end.
    pub(crate) enough: usize,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) messages: Vec<Bytes>,
    pub(crate) end: Result<(), Status>,
}

impl Answer {
    pub(crate) fn error(&self) -> Option<&Status> {
        self.end.as_ref().err()
    }
}

impl Server {
    fn at(address: &str, audience: Option<&str>) -> Result<Self, EndpointsError> {
        let origin = format!("http://{address}").parse();
        let origin = origin.map_err(|error| EndpointsError::Address(address.to_owned(), error))?;
        let (address, audience) = (address.to_owned(), audience.map(str::to_owned));
        Ok(Self { address, audience, origin, connections: connections() })
    }

    /// Sends, and waits for the end of the answer, or for enough of it.
    ///
    /// # Cancel safety
    /// Dropping it cancels the call.
    pub(crate) async fn send(&self, sent: Sent) -> Answer {
        let late = || Status::unknown(format!("no answer within {PATIENCE:?}"));
        tokio::time::timeout(PATIENCE, self.exchange(sent))
            .await
            .unwrap_or_else(|_| Answer { messages: Vec::new(), end: Err(late()) })
    }

    async fn exchange(&self, sent: Sent) -> Answer {
        let mut messages = Vec::new();
        let end = self.receive(sent, &mut messages).await;
        Answer { messages, end }
    }

    async fn receive(&self, sent: Sent, messages: &mut Vec<Bytes>) -> Result<(), Status> {
        let client = tonic::client::Grpc::with_origin(self.connections.clone(), self.origin.clone());
        let mut client = client.max_decoding_message_size(ANSWER_MAX_BYTES);
        client.ready().await.map_err(|error| Status::unknown(format!("{} is not there: {error}", self.address)))?;
        let mut request = Request::new(stream::iter(sent.messages));
        let metadata = request.metadata_mut();
        let ascii = |text: String| text.parse().map_err(|_| Status::unknown("the header is not ASCII"));
        if let Some(authorization) = sent.authorization {
            metadata.insert("authorization", ascii(authorization)?);
        }
        if let Some(timeout) = sent.timeout {
            metadata.insert("grpc-timeout", ascii(timeout.to_owned())?);
        }
        if let Some(trace) = sent.trace {
            metadata.insert("traceparent", ascii(format!("00-{trace}-{}-01", &trace[..16]))?);
        }
        let path = format!("/{}", sent.path).parse().map_err(|_| Status::unknown("the path is not one"))?;
        let mut answer = client.streaming(request, path, Raw).await?.into_inner();
        while let Some(message) = answer.message().await? {
            messages.push(message);
            if messages.len() == sent.enough {
                break;
            }
        }
        Ok(())
    }
}

/// Messages as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_the_longest_name() {
        let text = "# ours\nholdfast.listing.v1 127.0.0.1:1\nholdfast.listing.v1.HoldService 127.0.0.1:2\n";
        let endpoints = Endpoints::parse(text).expect("addresses");
        let address = |service: &str| endpoints.of(service).map(|server| server.address.as_str());
        assert_eq!(address("holdfast.listing.v1.ListingService"), Some("127.0.0.1:1"));
        assert_eq!(address("holdfast.listing.v1.HoldService"), Some("127.0.0.1:2"));
        assert_eq!(address("holdfast.listing.v10.ListingService"), None);
        assert!(matches!(Endpoints::parse("alone"), Err(EndpointsError::Line(1))));
        assert!(Endpoints::one("127.0.0.1:3").expect("an address").of("any.Service").is_some());
    }
}
