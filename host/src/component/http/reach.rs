//! Connecting to a server.

use std::iter;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use wasmtime_wasi_http::Error;

use crate::component::reserve::leaves_reserve;

/// How long an address has before the next is tried beside it; RFC 8305 has 250 ms.
const HEAD_START: Duration = Duration::from_millis(250);
/// The most attempts at a time. A guess; each takes a file descriptor.
const BESIDE: usize = 4;

/// Connects to the first of some addresses that answers, in their order, but with both families by turns (RFC 8305,
/// sections 4 and 5). One at which nobody answers, as at those of IPv6 in many a network, does not hold up the others.
pub(super) async fn first_of(addresses: Vec<SocketAddr>) -> Result<TcpStream, Error> {
    let (mut waiting, mut last) = (by_turns(addresses).into_iter(), Error::DestinationNotFound);
    let mut attempts = FuturesUnordered::new();
    loop {
        if attempts.len() < BESIDE {
            attempts.extend(waiting.next().map(connect));
        }
        let settled = if waiting.len() > 0 && attempts.len() < BESIDE {
            let Ok(settled) = timeout(HEAD_START, attempts.next()).await else { continue };
            settled
        } else {
            attempts.next().await
        };
        match settled {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => last = error,
            None => return Err(last),
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Error> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(Error::Connect)?;
    if !leaves_reserve(&socket) {
        return Err(Error::ConnectionLimitReached);
    }
    socket.connect(address).await.map_err(Error::Connect)
}

/// Puts one of the other family behind each, as long as there are some.
fn by_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_first = addresses.first().map(SocketAddr::is_ipv4);
    let (these, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| Some(address.is_ipv4()) == is_first);
    let mut others = others.into_iter();
    let mut all: Vec<_> =
        these.into_iter().flat_map(|address| iter::once(address).chain(others.next())).collect();
    all.extend(others);
    all
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that is too busy for more connections, as far as anybody can see from outside: attempts get no answer.
    struct Silent {
        address: SocketAddr,
        _listener: TcpListener,
        _connected: Vec<std::net::TcpStream>,
    }

    impl Silent {
        fn new() -> Self {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = socket.listen(1).unwrap();
            let address = listener.local_addr().unwrap();
            let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100));
            let connected = std::iter::from_fn(|| connect().ok()).collect();
            Self { address, _listener: listener, _connected: connected }
        }
    }

    #[test]
    fn both_families_have_their_turns() {
        let addresses = |numbers: &str| {
            let address = |number: char| match number.is_ascii_digit() {
                true => format!("127.0.0.{number}:80").parse().unwrap(),
                false => format!("[::{number}]:80").parse().unwrap(),
            };
            numbers.chars().map(address).collect::<Vec<_>>()
        };
        for (found, tried) in [("abcd12", "a1b2cd"), ("1a23", "1a23"), ("12", "12"), ("a", "a"), ("", "")] {
            assert_eq!(by_turns(addresses(found)), addresses(tried), "{found}");
        }
    }

    #[tokio::test]
    async fn an_address_at_which_nobody_answers_does_not_hold_up_the_next() {
        let silent = Silent::new();
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = server.local_addr().unwrap();
        let nowhere = "127.0.0.1:1".parse().unwrap();
        for addresses in [vec![there, silent.address], vec![silent.address, nowhere, there]] {
            // The system gives up on the silent one after two minutes.
            let stream = timeout(Duration::from_secs(60), first_of(addresses)).await.unwrap().unwrap();
            assert_eq!(stream.peer_addr().unwrap(), there);
        }
        assert!(matches!(first_of(vec![nowhere, nowhere]).await, Err(Error::Connect(_))));
        assert!(matches!(first_of(Vec::new()).await, Err(Error::DestinationNotFound)));
    }
}
