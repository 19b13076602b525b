//! TLS between services, both ends of which prove who they are: one folder of files switches it on.
//!
//! The files are named as Kubernetes and cert-manager name them, and read again when their content changes: new connections use what is there,
//! old ones end by their age. Who proves no certificate of the authority in `ca.crt` gets no connection. Whom a certificate speaks for is
//! its SPIFFE ID, `spiffe://…/ns/…/sa/payment`, or the first label of its DNS names; a callee must be the service that is called, and a
//! service's token counts only over a certificate of the same service (see `server`). TLS 1.3 only, on the provider that everything else uses.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::net::TcpStream;

/// How stale the files may be.
const POLL: Duration = Duration::from_secs(1);
/// HTTP/2 is all that is spoken.
const PROTOCOL: &[u8] = b"h2";
/// Enough to see whether a peer says anything; what is read in larger pieces does not pass through it.
const FIRST_BYTES: usize = 1024;

/// The certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} is not usable PEM", .path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// Certificate and key do not belong together, or are of a kind that is not accepted.
    #[error("the certificates are not usable")]
    Rustls(#[from] rustls::Error),
    /// There is no authority in `ca.crt`.
    #[error("the certificate authority is not usable")]
    Authority(#[from] VerifierBuilderError),
}

/// This process's certificate and the authority whose certificates it accepts. Cheap to clone; clones share what was read.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    current: ArcSwap<Ends>,
    seen: Mutex<Seen>,
}

struct Ends {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

struct Seen {
    files: Files,
    at: Instant,
}

#[derive(PartialEq, Eq)]
struct Files {
    authority: Vec<u8>,
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// With `ca.crt`, `tls.crt` (the certificate and what leads to the authority) and `tls.key` in `dir`.
    ///
    /// # Errors
    /// They are not there, or not usable.
    pub fn open(dir: &Path) -> Result<Self, TlsError> {
        let files = Files::read(dir)?;
        let ends = files.ends(dir)?;
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            current: ArcSwap::from_pointee(ends),
            seen: Mutex::new(Seen { files, at: Instant::now() }),
        })))
    }

    fn ends(&self) -> Arc<Ends> {
        // Somebody else is looking: what is there will do.
        if let Ok(mut seen) = self.0.seen.try_lock()
            && seen.at.elapsed() >= POLL
        {
            seen.at = Instant::now();
            self.look(&mut seen);
        }
        self.0.current.load_full()
    }

    /// Files that are missing or do not fit together leave everything as it is: whoever replaces them may not be done.
    fn look(&self, seen: &mut Seen) {
        let dir = &self.0.dir;
        let replaced = match Files::read(dir) {
            Ok(files) if files == seen.files => return,
            Ok(files) => files.ends(dir).map(|ends| (files, ends)),
            Err(error) => Err(error),
        };
        match replaced {
            Ok((files, ends)) => {
                self.0.current.store(Arc::new(ends));
                seen.files = files;
                tracing::info!(dir = %dir.display(), "certificates loaded");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(dir = %dir.display(), error, "new certificates are not usable, the old ones stay");
            }
        }
    }

    /// Proves this process to whoever connected, and them to it.
    ///
    /// # Errors
    /// One of the two failed, or the connection broke.
    pub(crate) async fn accept(&self, stream: Stream) -> io::Result<Stream> {
        let stream = TlsAcceptor::from(self.ends().server.clone()).accept(stream.plain()?).await?;
        Ok(Stream::tls(stream.into()))
    }

    /// Proves this process to `service`, and that it is that service.
    ///
    /// # Errors
    /// One of the two failed, or the connection broke.
    pub(crate) async fn connect(&self, service: &str, stream: Stream) -> io::Result<Stream> {
        let name = ServerName::try_from(service.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(self.ends().client.clone()).connect(name, stream.plain()?).await?;
        Ok(Stream::tls(stream.into()))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.dir).finish()
    }
}

/// Two are equal when they are the same.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tls {}

impl Files {
    const AUTHORITY: &str = "ca.crt";
    const CHAIN: &str = "tls.crt";
    const KEY: &str = "tls.key";

    fn read(dir: &Path) -> Result<Self, TlsError> {
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read(&path).map_err(|source| TlsError::File { path, source })
        };
        Ok(Self { authority: read(Self::AUTHORITY)?, chain: read(Self::CHAIN)?, key: read(Self::KEY)? })
    }

    fn ends(&self, dir: &Path) -> Result<Ends, TlsError> {
        let pem = |name: &str| {
            let path = dir.join(name);
            move |source| TlsError::Pem { path: path.clone(), source }
        };
        let certificates =
            |content, name| CertificateDer::pem_slice_iter(content).collect::<Result<Vec<_>, _>>().map_err(pem(name));
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.authority, Self::AUTHORITY)? {
            roots.add(authority)?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(&self.chain, Self::CHAIN)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(pem(Self::KEY))?;

        let provider = Arc::new(aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.clone(), key.clone_key())?;
        let servers = Arc::new(CalleeVerifier { roots, provider: provider.clone() });
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(servers)
            .with_client_auth_cert(chain, key)?;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Ends { server: Arc::new(server), client: Arc::new(client) })
    }
}

/// As rustls does it, but for the name: it is that of the service, wherever the connection leads.
#[derive(Debug)]
struct CalleeVerifier {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for CalleeVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        service: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        if PeerIdentity::of(certificate).is_some_and(|identity| identity.is(&service.to_str())) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whom a certificate speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerIdentity(Vec<Box<str>>);

impl PeerIdentity {
    /// `None` for what is no certificate, or speaks for nobody.
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
        Self::named(certificate.valid_uri_names(), certificate.valid_dns_names())
    }

    /// A SPIFFE ID says more than any other name, and there is only one (SPIFFE X.509-SVID §2).
    fn named<'a>(uris: impl Iterator<Item = &'a str>, names: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut ids = uris.filter_map(|uri| uri.strip_prefix("spiffe://"));
        let services: Vec<Box<str>> = match (ids.next(), ids.next()) {
            (Some(id), None) => vec![account(id)?.into()],
            (Some(_), Some(_)) => return None,
            (None, _) => names.filter_map(|name| name.split('.').next()).map(Box::from).collect(),
        };
        (!services.is_empty()).then_some(Self(services))
    }

    /// Whether it speaks for this service.
    pub(crate) fn is(&self, service: &str) -> bool {
        self.0.iter().any(|name| **name == *service)
    }
}

/// The service account in `<trust domain>/ns/<namespace>/sa/<account>`.
fn account(id: &str) -> Option<&str> {
    let parts: Vec<_> = id.split('/').collect();
    match parts[..] {
        [domain, "ns", namespace, "sa", account] if ![domain, namespace, account].contains(&"") => Some(account),
        _ => None,
    }
}

/// A connection, with TLS or without.
pub(crate) enum Stream {
    /// As it comes: within one machine, or where a sidecar encrypts.
    Plain(TcpStream),
    /// Both ends are proven.
    Tls(Box<BufReader<TlsStream<TcpStream>>>),
}

impl Stream {
    fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(BufReader::with_capacity(FIRST_BYTES, stream)))
    }

    /// TLS is spoken once.
    fn plain(self) -> io::Result<TcpStream> {
        match self {
            Self::Plain(stream) => Ok(stream),
            Self::Tls(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "the connection has TLS already")),
        }
    }

    /// Waits for the peer's first byte without taking it; answers whether there was one.
    pub(crate) async fn speaks(&mut self) -> bool {
        match self {
            Self::Plain(stream) => matches!(stream.peek(&mut [0]).await, Ok(1..)),
            Self::Tls(stream) => stream.fill_buf().await.is_ok_and(|bytes| !bytes.is_empty()),
        }
    }

    /// Whom the peer proved to be; `None` without TLS.
    pub(crate) fn peer(&self) -> Option<PeerIdentity> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => {
                let (_, session) = stream.get_ref().get_ref();
                let proven = session.peer_certificates().and_then(<[_]>::first);
                // Who proved something that speaks for nobody is nobody.
                Some(proven.and_then(PeerIdentity::of).unwrap_or(PeerIdentity(Vec::new())))
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_speaks_for_the_service_it_names() {
        let check = |uris: &[&str], names: &[&str], expected: &[&str]| {
            let identity = PeerIdentity::named(uris.iter().copied(), names.iter().copied());
            let expected: Vec<Box<str>> = expected.iter().map(|name| Box::from(*name)).collect();
            assert_eq!(identity.map_or(Vec::new(), |identity| identity.0), expected, "{uris:?} {names:?}");
        };
        check(&["spiffe://holdfast/ns/default/sa/payment"], &[], &["payment"]);
        // The SPIFFE ID counts, not the host it happens to run on.
        check(&["https://example.org", "spiffe://holdfast/ns/default/sa/payment"], &["listing"], &["payment"]);
        check(&[], &["payment.holdfast.svc.cluster.local", "payment"], &["payment", "payment"]);
        for malformed in [
            "spiffe://holdfast/payment",
            "spiffe://holdfast/ns/default/sa/",
            "spiffe:///ns/default/sa/payment",
            "spiffe://holdfast/ns/default/sa/payment/listing",
        ] {
            check(&[malformed], &["payment"], &[]);
        }
        let two = ["spiffe://holdfast/ns/default/sa/payment", "spiffe://holdfast/ns/default/sa/listing"];
        check(&two, &[], &[]);
        check(&[], &[], &[]);
    }
}
