//! A certificate authority of a test's own.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, SanType,
    date_time_ymd,
};

/// Issues certificates as a mesh's authority does.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one, which nobody trusts yet.
    ///
    /// # Panics
    /// When a key cannot be made.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = name("authority");
        Self(CertifiedIssuer::self_signed(params, key()).expect("a certificate of an authority"))
    }

    /// Writes what `service` proves itself with into `dir`: `ca.crt`, `tls.crt` and `tls.key`, with a SPIFFE ID and a DNS name.
    ///
    /// # Panics
    /// When the folder is not writable.
    pub fn issue(&self, service: &str, dir: &Path) {
        self.write(dir, leaf(service, &format!("spiffe://holdfast/ns/default/sa/{service}")));
    }

    /// As [`issue`](Self::issue), with a certificate that ran out long ago.
    ///
    /// # Panics
    /// When the folder is not writable.
    pub fn issue_expired(&self, service: &str, dir: &Path) {
        let mut params = leaf(service, &format!("spiffe://holdfast/ns/default/sa/{service}"));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 1);
        self.write(dir, params);
    }

    fn write(&self, dir: &Path, params: CertificateParams) {
        let key = key();
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let write = |name: &str, text: String| fs::write(dir.join(name), text).expect("the folder is writable");
        fs::create_dir_all(dir).expect("the folder is writable");
        write("ca.crt", self.0.pem());
        write("tls.crt", certificate.pem());
        write("tls.key", key.serialize_pem());
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("random numbers")
}

fn name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn leaf(service: &str, id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(service);
    let ascii = |text: &str| text.try_into().expect("names are ASCII");
    params.subject_alt_names = vec![SanType::URI(ascii(id)), SanType::DnsName(ascii(service))];
    params
}
