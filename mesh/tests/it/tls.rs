//! Services that prove themselves to each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mesh::client::{self, Address, Channel, Credentials};
use mesh::fault::reason_of;
use mesh::server::Age;
use mesh::testing::{Authority, eventually};
use mesh::tls::Tls;
use proto::contract::Role;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tonic::{Code, Status};

use crate::harness::{Echo, Keys, PATIENCE, RULES, Server, call, text};

/// Folders of certificates.
struct Certificates {
    dir: TempDir,
    authority: Authority,
}

impl Certificates {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), authority: Authority::new() }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Of this service, by the authority that all others are of.
    fn of(&self, service: &str) -> Tls {
        self.authority.issue(service, &self.folder(service));
        Tls::open(&self.folder(service)).unwrap()
    }
}

async fn serve(keys: &Keys, tls: Tls) -> Server {
    let mut spec = keys.spec("back");
    spec.tls = Some(tls);
    Server::start(spec, Echo::new(|request| async move { Ok(request.into_inner()) })).await
}

fn channel(server: &Server, tls: Option<&Tls>, caller: impl Into<Credentials>) -> Channel {
    client::connect_with_rules("back", &Address::from(server.address).secured(tls), caller, &RULES)
}

async fn refused(channel: &Channel) -> Status {
    call(channel, "Open", text("")).await.unwrap_err()
}

#[tokio::test]
async fn a_call_goes_through_when_both_ends_are_who_they_say() {
    let (keys, certificates) = (Keys::new(), Certificates::new());
    let server = serve(&keys, certificates.of("back")).await;
    let front = certificates.of("front");
    let service = channel(&server, Some(&front), keys.identity("front"));
    assert_eq!(call(&service, "FrontOnly", text("hello")).await.unwrap(), "hello");
    // A user's token counts over any certificate: whoever carries it is trusted to carry it.
    let user = channel(&server, Some(&front), keys.user(&[Role::Customer]));
    assert_eq!(call(&user, "Open", text("hello")).await.unwrap(), "hello");
    server.stop().await;
}

#[tokio::test]
async fn a_token_counts_only_over_its_service_s_certificate() {
    let (keys, certificates) = (Keys::new(), Certificates::new());
    let server = serve(&keys, certificates.of("back")).await;
    let stolen = channel(&server, Some(&certificates.of("middle")), keys.identity("front"));
    let status = refused(&stolen).await;
    assert_eq!((status.code(), reason_of(&status).as_deref()), (Code::Unauthenticated, Some("CREDENTIALS_INVALID")));
    server.stop().await;
}

/// What the other end is not content with ends the connection; no call is made over it.
#[tokio::test]
async fn who_cannot_prove_itself_gets_no_connection() {
    let (keys, certificates, foreign) = (Keys::new(), Certificates::new(), Certificates::new());
    let front = certificates.of("front");
    let check = async |server: &Tls, client: Option<&Tls>, what: &str| {
        let server = serve(&keys, server.clone()).await;
        let status = refused(&channel(&server, client, keys.identity("front"))).await;
        assert_eq!(status.code(), Code::Unavailable, "{what}: {status:?}");
        server.stop().await;
    };
    let back = certificates.of("back");
    check(&back, None, "no TLS").await;
    check(&back, Some(&foreign.of("front")), "a caller of another authority").await;
    certificates.authority.issue_expired("front", &certificates.folder("old front"));
    check(&back, Some(&Tls::open(&certificates.folder("old front")).unwrap()), "a caller whose certificate expired")
        .await;
    check(&foreign.of("back"), Some(&front), "a callee of another authority").await;
    certificates.authority.issue_expired("back", &certificates.folder("old back"));
    check(&Tls::open(&certificates.folder("old back")).unwrap(), Some(&front), "a callee whose certificate expired")
        .await;
    check(&certificates.of("middle"), Some(&front), "a callee that is another service").await;
}

/// The folder's certificate, as a server with it would present it.
fn presented(folder: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(folder.join("tls.crt")).unwrap()
}

/// Connects without HTTP/2, and perhaps without a certificate; answers the callee's certificate and the first that it says.
async fn look(server: &Server, folder: &Path, with_certificate: bool) -> (CertificateDer<'static>, Vec<u8>) {
    #[derive(Debug)]
    struct Anybody;
    impl rustls::client::danger::ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: rustls::pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = if with_certificate {
        let key = rustls::pki_types::PrivateKeyDer::from_pem_file(folder.join("tls.key")).unwrap();
        config.with_client_auth_cert(vec![presented(folder)], key).unwrap()
    } else {
        config.with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let plain = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("back").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, plain).await.unwrap();
    let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let mut said = vec![0; 9];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut said)).await.expect("it answers or closes");
    said.truncate(read.unwrap_or(0));
    (certificate, said)
}

#[tokio::test]
async fn who_shows_no_certificate_is_told_nothing() {
    let (keys, certificates) = (Keys::new(), Certificates::new());
    let server = serve(&keys, certificates.of("back")).await;
    certificates.of("front");
    let front = certificates.folder("front");
    assert!(!look(&server, &front, true).await.1.is_empty(), "with one, HTTP/2 is spoken");
    assert_eq!(look(&server, &front, false).await.1, b"");
    server.stop().await;
}

/// Certificates are replaced file by file, as everybody does it, while calls go on; new connections use them, old ones end by their age.
#[tokio::test]
async fn certificates_are_replaced_under_load_and_no_call_fails() {
    let (keys, certificates) = (Keys::new(), Certificates::new());
    let mut spec = keys.spec("back");
    spec.tls = Some(certificates.of("back"));
    spec.limits.age = Some(Age { limit: Duration::from_millis(30), grace: Duration::from_secs(60) });
    let server = Server::start(spec, Echo::new(|request| async move { Ok(request.into_inner()) })).await;
    let channel = channel(&server, Some(&certificates.of("front")), keys.user(&[Role::Customer]));
    let (done, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let (channel, done, calls) = (channel.clone(), done.clone(), calls.clone());
        callers.spawn(async move {
            while !done.load(Ordering::Relaxed) {
                call(&channel, "Open", text("")).await.expect("no call fails");
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let (front, back) = (certificates.folder("front"), certificates.folder("back"));
    for _ in 0..2 {
        let before = presented(&back);
        for (service, folder) in [("back", &back), ("front", &front)] {
            certificates.authority.issue(service, folder);
        }
        assert_ne!(presented(&back), before);
        eventually(PATIENCE, async || look(&server, &front, true).await.0 == presented(&back)).await;
        let seen = calls.load(Ordering::Relaxed);
        eventually(PATIENCE, async || calls.load(Ordering::Relaxed) > seen + 8).await;
    }
    done.store(true, Ordering::Relaxed);
    callers.join_all().await;
    server.stop().await;
}

#[test]
fn unusable_files_are_refused_at_the_start() {
    let certificates = Certificates::new();
    let folder = certificates.folder("front");
    assert!(Tls::open(&folder).unwrap_err().to_string().contains("ca.crt"));
    certificates.of("front");
    // The key of another certificate.
    certificates.of("back");
    std::fs::copy(certificates.folder("back").join("tls.key"), folder.join("tls.key")).unwrap();
    assert!(Tls::open(&folder).is_err());
    std::fs::write(folder.join("ca.crt"), "").unwrap();
    assert!(Tls::open(&folder).is_err());
}
