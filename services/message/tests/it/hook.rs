//! A webhook's receiving end: a real HTTP server that answers as told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// One request that came.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) id: String,
    pub(crate) timestamp: String,
    pub(crate) signature: String,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

impl Posted {
    pub(crate) fn event(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

#[derive(Default)]
struct State {
    answers: Mutex<VecDeque<StatusCode>>,
    otherwise: Mutex<StatusCode>,
    posted: Mutex<Vec<Posted>>,
    location: String,
}

/// Answers the first requests with `first`, all others with `then`.
pub(crate) struct Hook {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    server: tokio::task::JoinHandle<()>,
}

impl Hook {
    pub(crate) async fn start(first: &[u16], then: u16) -> Self {
        Self::start_with(first, then, String::new()).await
    }

    /// Sends everybody elsewhere.
    pub(crate) async fn redirecting(status: u16, location: String) -> Self {
        Self::start_with(&[], status, location).await
    }

    async fn start_with(first: &[u16], then: u16, location: String) -> Self {
        let code = |code: u16| StatusCode::from_u16(code).expect("a status");
        let state = Arc::new(State { location, ..State::default() });
        state.answers.lock().expect("not poisoned").extend(first.iter().copied().map(code));
        *state.otherwise.lock().expect("not poisoned") = code(then);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = mesh::deadline::spawn(accept(listener, Arc::clone(&state)));
        Self { address, state, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn posted(&self) -> Vec<Posted> {
        self.state.posted.lock().expect("not poisoned").clone()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let service = service_fn(move |request| answer(request, Arc::clone(&state)));
        drop(mesh::deadline::spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }));
    }
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Full<Bytes>>, Infallible> {
    let header =
        |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let [id, timestamp, signature, content_type] =
        ["webhook-id", "webhook-timestamp", "webhook-signature", "content-type"].map(header);
    let body = request.into_body().collect().await.expect("a body").to_bytes();
    let posted = Posted { id, timestamp, signature, content_type, body };
    state.posted.lock().expect("not poisoned").push(posted);
    let next = state.answers.lock().expect("not poisoned").pop_front();
    let status = next.unwrap_or(*state.otherwise.lock().expect("not poisoned"));
    let answer = Response::builder().status(status).header("location", state.location.as_str());
    Ok(answer.body(Full::default()).expect("a response"))
}
