//! Where a service is found: one address or several, of machines or of names that the DNS knows.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use http::uri::{Authority, Scheme};

use crate::net::lookup_host;
use crate::tls::{Stream, Tls};

/// Where a service is found: `http://host:port`, or `https://host:port` if only TLS will do, or several of these with commas between. A host that
/// is a name stands for all addresses that the DNS tells of it, now and later.
#[derive(Clone)]
pub struct Address {
    scheme: Scheme,
    origins: Arc<[Authority]>,
    tls: Option<Tls>,
    lookup: Option<Lookup>,
}

/// In place of the DNS.
type Lookup = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// The text is not an address of the form `http://host:port`, nor several of one scheme with commas between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address of the form http://host:port or https://host:port, or several with commas between")]
pub struct AddressError;

impl Address {
    /// With this certificate, if there is one: connections are then TLS, whatever the address says.
    #[must_use]
    pub fn secured(mut self, tls: Option<&Tls>) -> Self {
        self.tls = tls.cloned();
        self
    }

    pub(super) fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// What requests to the first of them are addressed to.
    pub(super) fn uri(&self) -> Uri {
        let first = self.origins.first().expect("an address has an origin").clone();
        Uri::builder()
            .scheme(self.scheme())
            .authority(first)
            .path_and_query("/")
            .build()
            .expect("these make an address")
    }

    /// Makes what goes over a connection as secret as the address wants it; `target` is the service that must be at the other end.
    pub(super) async fn secure(&self, target: &str, stream: Stream) -> io::Result<Stream> {
        match &self.tls {
            Some(tls) => tls.connect(target, stream).await,
            None if self.scheme == Scheme::HTTPS => Err(io::Error::other("there is no certificate to call with")),
            None => Ok(stream),
        }
    }

    /// As it is configured, one for each part of the list.
    pub(super) fn origins(&self) -> &[Authority] {
        &self.origins
    }

    /// The addresses of one of the origins, asked of the DNS.
    pub(super) async fn resolve(&self, origin: &Authority) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = host_and_port(origin);
        match &self.lookup {
            Some(lookup) => lookup(host, port),
            None => Ok(lookup_host((host, port)).await?.collect()),
        }
    }

    /// Its names are looked up by `lookup` and not by the DNS, for tests of what follows from an answer.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn looked_up_by(
        mut self,
        lookup: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        self.lookup = Some(Arc::new(lookup));
        self
    }
}

/// The address that an origin is, if its host is not a name.
pub(super) fn literal(origin: &Authority) -> Option<SocketAddr> {
    let (host, port) = host_and_port(origin);
    host.parse::<IpAddr>().ok().map(|host| SocketAddr::new(host, port))
}

fn host_and_port(origin: &Authority) -> (&str, u16) {
    let host = origin.host().trim_start_matches('[').trim_end_matches(']');
    (host, origin.port_u16().expect("an address has a port"))
}

fn origin(text: &str) -> Result<(Scheme, Authority), AddressError> {
    let uri: Uri = text.trim().parse().map_err(|_| AddressError)?;
    let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    let parts = uri.into_parts();
    let (scheme, authority) = parts.scheme.zip(parts.authority).filter(|_| bare).ok_or(AddressError)?;
    let known = scheme == Scheme::HTTP || scheme == Scheme::HTTPS;
    let complete = !authority.host().is_empty() && authority.port_u16().is_some();
    if known && complete { Ok((scheme, authority)) } else { Err(AddressError) }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let origins = text.split(',').map(origin).collect::<Result<Vec<_>, _>>()?;
        let (schemes, origins): (Vec<_>, Vec<_>) = origins.into_iter().unzip();
        let scheme = schemes.first().filter(|first| schemes.iter().all(|scheme| scheme == *first));
        let scheme = scheme.ok_or(AddressError)?.clone();
        Ok(Self { scheme, origins: origins.into(), tls: None, lookup: None })
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        format!("http://{address}").parse().expect("a socket address has a host and a port")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, origin) in self.origins.iter().enumerate() {
            write!(f, "{}{}://{origin}", if number == 0 { "" } else { "," }, self.scheme)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_origin_or_a_list_of_them() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(text.parse::<Address>().ok().map(|address| address.to_string()).as_deref(), expected, "{text}");
        };
        check("http://127.0.0.1:7401", Some("http://127.0.0.1:7401"));
        check("http://listing.mesh.svc.cluster.local.:7401/", Some("http://listing.mesh.svc.cluster.local.:7401"));
        check("http://[::1]:1, http://b:2", Some("http://[::1]:1,http://b:2"));
        check("https://a:1,https://b:2", Some("https://a:1,https://b:2"));
        for refused in [
            "",
            "listing:7401",
            "ftp://a:1",
            "http://a:1,https://b:1",
            "http://a",
            "http://:1",
            "http://a:1/b",
            "http://a:1,",
            "http://a:1?b",
        ] {
            check(refused, None);
        }
    }

    #[test]
    fn only_a_name_has_to_be_looked_up() {
        let check = |text: &str, expected: Option<&str>| {
            let address: Address = text.parse().unwrap();
            assert_eq!(
                literal(&address.origins()[0]).map(|address| address.to_string()).as_deref(),
                expected,
                "{text}"
            );
        };
        check("http://127.0.0.1:1", Some("127.0.0.1:1"));
        check("http://[::1]:1", Some("[::1]:1"));
        check("http://localhost:1", None);
    }

    #[tokio::test]
    async fn a_name_stands_for_the_addresses_that_are_known_of_it() {
        let address: Address = "http://localhost:7".parse().unwrap();
        let known = address.resolve(&address.origins()[0]).await.unwrap();
        assert!(known.contains(&"127.0.0.1:7".parse().unwrap()), "{known:?}");
    }
}
