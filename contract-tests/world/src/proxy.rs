//! A server between callers and the real one that listens, or does one thing wrong.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::{Code, Status};

/// A length-prefixed message has this before its bytes.
const PREFIX_BYTES: usize = 5;

/// What a caller sends.
#[derive(Clone, Debug)]
pub struct Call {
    /// `/service/Method`.
    pub path: String,
    /// Metadata.
    pub headers: HeaderMap,
    /// The first message.
    pub message: Vec<u8>,
    /// As it came, if the message is left alone.
    raw: Bytes,
}

impl Call {
    /// Changes whose call it is.
    ///
    /// # Panics
    /// When a token is not ASCII.
    pub fn authorize(&mut self, token: &str) {
        let value = format!("Bearer {token}").parse().expect("a token is ASCII");
        self.headers.insert("authorization", value);
    }
}

/// What the caller gets.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The message, if there is one.
    pub message: Option<Vec<u8>>,
    /// How the call ended.
    pub end: Result<(), Status>,
}

impl Reply {
    /// A message, and all is well.
    #[must_use]
    pub fn ok(message: Vec<u8>) -> Self {
        Self { message: Some(message), end: Ok(()) }
    }

    /// All is well, and there is no message.
    #[must_use]
    pub fn empty() -> Self {
        Self { message: None, end: Ok(()) }
    }

    /// A refusal.
    pub fn refused(status: impl Into<Status>) -> Self {
        Self { message: None, end: Err(status.into()) }
    }

    /// How it ended.
    #[must_use]
    pub fn code(&self) -> Code {
        self.end.as_ref().err().map_or(Code::Ok, Status::code)
    }
}

/// Changes what is passed on, or answers itself.
pub type Before = Box<dyn Fn(&mut Call) -> Option<Reply> + Send + Sync>;
/// Makes a call that nobody asked for.
pub type Besides = Box<dyn Fn() -> Call + Send + Sync>;
/// Changes what comes back.
pub type After = Box<dyn Fn(&Call, &mut Reply) + Send + Sync>;

/// One wrong behaviour.
pub struct Plant {
    /// Paths that end so are concerned.
    pub path: &'static str,
    /// Changes what is passed on, or answers itself.
    pub before: Before,
    /// Changes what comes back.
    pub after: Option<After>,
    /// A call that is made besides, with the trace of the one that is asked for.
    pub besides: Option<(&'static str, Besides)>,
}

impl Call {
    /// With this token.
    ///
    /// # Panics
    /// When the token is not ASCII.
    #[must_use]
    pub fn new(message: Vec<u8>, token: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        let mut call = Self { path: String::new(), headers, message, raw: Bytes::new() };
        call.authorize(token);
        call
    }
}

/// Starts one before `upstream`; it ends with the runtime.
///
/// # Panics
/// When no port is free.
pub async fn start(upstream: SocketAddr, plant: Arc<Plant>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build(connector);
    let proxy = Proxy { upstream, plant, client };
    drop(mesh::deadline::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let proxy = proxy.clone();
            let service = service_fn(move |request| {
                let proxy = proxy.clone();
                async move { Ok::<_, Infallible>(proxy.handle(request).await) }
            });
            let connection = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
            drop(mesh::deadline::spawn(connection));
        }
    }));
    address
}

#[derive(Clone)]
struct Proxy {
    upstream: SocketAddr,
    plant: Arc<Plant>,
    client: Client<HttpConnector, Body>,
}

impl Proxy {
    async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if !path.ends_with(self.plant.path) {
            let (parts, body) = request.into_parts();
            return self.forward(&path, parts.headers, Body::new(body)).await;
        }
        let (parts, body) = request.into_parts();
        let raw = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let message = raw.get(PREFIX_BYTES..).unwrap_or_default().to_vec();
        let mut call = Call { path: path.clone(), headers: parts.headers, message, raw };
        if let Some((path, besides)) = &self.plant.besides {
            let besides = besides();
            let mut headers = besides.headers.clone();
            if let Some(trace) = call.headers.get("traceparent") {
                headers.insert("traceparent", trace.clone());
            }
            let done = self.forward(path, headers, full(framed(&besides.message))).await;
            let _ = done.into_body().collect().await;
        }
        let sent = call.message.clone();
        if let Some(reply) = (self.plant.before)(&mut call) {
            return respond(reply);
        }
        let body = if call.message == sent { call.raw.clone() } else { framed(&call.message).into() };
        let response = self.forward(&path, call.headers.clone(), full(body)).await;
        match &self.plant.after {
            None => response,
            Some(after) => {
                let mut reply = read(response).await;
                after(&call, &mut reply);
                respond(reply)
            }
        }
    }

    async fn forward(&self, path: &str, headers: HeaderMap, body: Body) -> Response<Body> {
        let mut request = Request::post(format!("http://{}{path}", self.upstream)).body(body).expect("a request");
        *request.headers_mut() = headers;
        match self.client.request(request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => Status::unknown(format!("the proxy reaches nobody: {error}")).into_http(),
        }
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    [&[0], length.as_slice(), message].concat()
}

fn full(body: impl Into<Bytes>) -> Body {
    Body::new(Full::new(body.into()))
}

async fn read(response: Response<Body>) -> Reply {
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.expect("an answer");
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let bytes = collected.to_bytes();
    let status = Status::from_header_map(&trailers).or_else(|| Status::from_header_map(&parts.headers));
    let end = match status {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    };
    Reply { message: bytes.get(PREFIX_BYTES..).map(<[u8]>::to_vec), end }
}

fn respond(reply: Reply) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    match reply.end {
        Err(status) => return status.into_http(),
        Ok(()) => drop(trailers.insert("grpc-status", HeaderValue::from_static("0"))),
    }
    let message = reply.message.map(|message| Frame::data(Bytes::from(framed(&message))));
    let frames = message.into_iter().chain([Frame::trailers(trailers)]).map(Ok::<_, Infallible>);
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    Response::builder().header("content-type", "application/grpc").body(body).expect("a response")
}
