//! The place that a request goes to: granted, resolved once, and public unless the grant names an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use http::Uri;
use http::uri::Scheme;
use portcullis_contract::{Grants, HttpAuthority};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wasmtime_wasi_http::Error;

use super::PATIENCE;
use crate::blocking::blocking;
use crate::public::is_public;

/// Where a request goes, granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) scheme: Scheme,
    /// A name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// What the header `Host` has to say.
    pub(super) authority: String,
}

impl Target {
    /// Reads it from the request and compares it with the grants.
    pub(super) fn new(uri: &Uri, grants: &Grants) -> Result<Self, Error> {
        let scheme = uri.scheme().ok_or(Error::HttpRequestUriInvalid)?.clone();
        let default = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return Err(Error::HttpProtocolError),
        };
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        if authority.as_str().contains('@') {
            return Err(Error::HttpRequestUriInvalid);
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            // Something follows the host, and is no port.
            None if authority.as_str() != authority.host() => return Err(Error::HttpRequestUriInvalid),
            None => default,
        };
        if !grants.allows_http(scheme.as_str(), host, port) {
            return Err(Error::HttpRequestDenied);
        }
        Ok(Self { scheme, host: host.to_owned(), port, authority: authority.as_str().to_owned() })
    }

    /// Resolves the host, once. A name waits for one of the permits.
    pub(super) async fn resolve(&self, lookups: &Arc<Semaphore>) -> Result<Vec<SocketAddr>, Error> {
        if self.host.eq_ignore_ascii_case("localhost") {
            let here: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Ok(here.map(|address| SocketAddr::new(address, self.port)).into());
        }
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let looked_up = async {
            let permit = Arc::clone(lookups).acquire_owned().await.ok()?;
            let place = (self.host.clone(), self.port);
            let look_up = move || {
                // A lookup cannot be cancelled: abandoned by its guest it still has a thread, and so keeps the permit.
                let _permit = permit;
                let addresses = place.to_socket_addrs();
                let unknown = |error: &std::io::Error| {
                    tracing::debug!(host = place.0, "a name is not resolved: {error}");
                };
                Some(addresses.inspect_err(unknown).ok()?.collect::<Vec<_>>())
            };
            blocking(look_up).await
        };
        let found = timeout(PATIENCE, looked_up).await.map_err(|_| Error::DnsTimeout)?;
        let found = found.ok_or(Error::DnsError { rcode: None, info_code: None })?;
        if found.is_empty() {
            return Err(Error::DestinationNotFound);
        }
        let public: Vec<_> = found.into_iter().filter(|address| is_public(address.ip())).collect();
        if public.is_empty() { Err(Error::DestinationIpProhibited) } else { Ok(public) }
    }

    pub(super) fn granted_as(&self) -> HttpAuthority {
        HttpAuthority { scheme: self.scheme.as_str().to_owned(), host: self.host.clone(), port: self.port }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check_target(uri: &str, expected: Result<(&str, u16), &str>) {
        let http = ["https://api.example.com", "http://127.0.0.1:8080", "http://[::1]"];
        let grants = Grants { http: http.map(|text| text.parse().unwrap()).into(), ..Grants::default() };
        let target = Target::new(&uri.parse().unwrap(), &grants);
        let seen = target.as_ref().map(|t| (t.host.as_str(), t.port)).map_err(ToString::to_string);
        assert_eq!(seen, expected.map_err(str::to_owned), "{uri}");
    }

    #[test]
    fn a_request_goes_where_it_was_granted_and_nowhere_else() {
        check_target("https://api.example.com/x", Ok(("api.example.com", 443)));
        check_target("https://API.example.com:443/x", Ok(("API.example.com", 443)));
        check_target("http://127.0.0.1:8080/", Ok(("127.0.0.1", 8080)));
        check_target("http://[::1]/", Ok(("::1", 80)));
        let denied = Err("HTTP request denied");
        for other in [
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com.evil/",
            "https://evil/https://api.example.com/",
            "http://127.0.0.1/",
            "http://localhost:8080/",
        ] {
            check_target(other, denied);
        }
        check_target("https://api.example.com@evil/", Err("invalid HTTP request URI"));
        check_target("https://evil@api.example.com/", Err("invalid HTTP request URI"));
        check_target("https://api.example.com:99999/", Err("invalid HTTP request URI"));
        check_target("https://api.example.com:x/", Err("invalid HTTP request URI"));
        check_target("/x", Err("invalid HTTP request URI"));
    }

    fn target(host: &str) -> Target {
        Target { scheme: Scheme::HTTP, host: host.to_owned(), port: 9, authority: String::new() }
    }

    #[tokio::test]
    async fn a_granted_address_needs_no_resolver() {
        let there = |address: &str| vec![address.parse::<SocketAddr>().unwrap()];
        let lookups = Arc::new(Semaphore::new(0));
        assert_eq!(target("127.0.0.1").resolve(&lookups).await.unwrap(), there("127.0.0.1:9"));
        assert_eq!(target("::1").resolve(&lookups).await.unwrap(), there("[::1]:9"));
        assert_eq!(target("LocalHost").resolve(&lookups).await.unwrap()[0], there("127.0.0.1:9")[0]);
    }

    #[test]
    fn a_lookup_that_is_given_up_counts_until_it_is_over() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (release, held_up) = std::sync::mpsc::channel::<()>();
            let only_thread = tokio::task::spawn_blocking(move || held_up.recv());
            let lookups = Arc::new(Semaphore::new(1));
            // No resolver is asked for a name with a zero in it.
            let target = target("a\0b");
            assert!(timeout(Duration::ZERO, target.resolve(&lookups)).await.is_err());
            assert_eq!(lookups.available_permits(), 0);

            drop(release);
            assert!(only_thread.await.unwrap().is_err());
            assert!(timeout(PATIENCE, lookups.acquire()).await.is_ok());
        });
    }
}
