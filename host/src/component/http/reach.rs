//! Connecting to a server.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::timeout;
use wasmtime_wasi_http::Error;

/// How long an address has before the next is tried beside it; RFC 8305 has 250 ms.
const HEAD_START: Duration = Duration::from_millis(250);
/// The most attempts at a time. A guess; each takes a file descriptor.
const BESIDE: usize = 4;

/// Connects to the first of some addresses that answers, in their order (RFC 8305, section 5). One at which nobody
/// answers, as at those of IPv6 in many a network, does not hold up the others.
pub(super) async fn first_of(addresses: Vec<SocketAddr>) -> Result<TcpStream, Error> {
    let (mut waiting, mut last) = (addresses.into_iter(), Error::DestinationNotFound);
    let mut attempts = FuturesUnordered::new();
    loop {
        if attempts.len() < BESIDE {
            attempts.extend(waiting.next().map(TcpStream::connect));
        }
        let settled = if waiting.len() > 0 && attempts.len() < BESIDE {
            let Ok(settled) = timeout(HEAD_START, attempts.next()).await else { continue };
            settled
        } else {
            attempts.next().await
        };
        match settled {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => last = Error::Connect(error),
            None => return Err(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

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

    #[tokio::test]
    async fn an_address_at_which_nobody_answers_does_not_hold_up_the_next() {
        let silent = Silent::new();
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = server.local_addr().unwrap();
        let nowhere = "127.0.0.1:1".parse().unwrap();
        for addresses in [vec![there, silent.address], vec![silent.address, nowhere, there]] {
            let stream = first_of(addresses).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), there);
        }
        assert!(matches!(first_of(vec![nowhere, nowhere]).await, Err(Error::Connect(_))));
        assert!(matches!(first_of(Vec::new()).await, Err(Error::DestinationNotFound)));
    }
}
