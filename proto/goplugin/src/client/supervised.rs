//! A child from its start on, and the task that sees to its end.
//!
//! The monitor waits for the child's process, and then ends what ends with it, in this order: the rest of its group,
//! calls and callbacks, the pipes, the sockets. Last of all it tells how the child ended. Nobody stops the monitor:
//! whoever drops the plugin kills the child, and so does the end of its runtime.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::child::{Child, Leash};
use super::connection::{Hold, end};
use super::output::{FirstLine, Tail, read_stderr, read_stdout};
use super::{Connected, Connection, Evidence, Exit, Gone, Launch};
use crate::broker::{Medium, Queue};
use crate::log::chain;
use crate::sink::Contained;
use crate::transport::{Ended, Place, Socket, SocketDir, Strays};
use crate::{Address, Broker, Sink};

/// A child whose end is seen to, be it a plugin yet or not. Dropping it kills the child.
#[derive(Debug)]
pub(super) struct Supervised {
    leash: Arc<Leash>,
    message_limit: usize,
    sink: Arc<dyn Sink>,
    sockets: Arc<SocketDir>,
    strays: Arc<Strays>,
    requested: Arc<AtomicBool>,
    ended: Ended,
    gone: Gone,
    tail: Tail,
}

impl Supervised {
    /// Watches `child`, and returns what will receive its first line.
    pub(super) fn watch(
        child: Child,
        launch: &Launch,
        sockets: Arc<SocketDir>,
    ) -> (Self, oneshot::Receiver<FirstLine>) {
        let Child { leash, stdout, stderr } = child;
        let (first, first_line) = oneshot::channel();
        let (has_ended, ended) = Ended::new();
        let (tell, told) = watch::channel(None);
        // Weakly: a broker that somebody keeps must not keep the child.
        let of = Arc::downgrade(&leash);
        let sink: Arc<dyn Sink> = Arc::new(Contained(Arc::clone(&launch.sink)));
        let supervised = Self {
            leash: Arc::clone(&leash),
            message_limit: launch.message_limit,
            sink: Arc::clone(&sink),
            sockets: Arc::clone(&sockets),
            strays: Arc::new(Strays::new(move |pid| of.upgrade().is_some_and(|leash| leash.reaches(pid)))),
            requested: Arc::default(),
            ended: ended.clone(),
            gone: Gone(told),
            tail: Tail::default(),
        };
        let readers = [
            tokio::spawn(read_stdout(stdout, ended.clone(), first, Arc::clone(&sink))),
            tokio::spawn(read_stderr(stderr, ended, launch.log_line_limit, sink, supervised.tail.clone())),
        ];
        tokio::spawn(monitor(Watched {
            leash,
            has_ended,
            tell,
            readers,
            sockets,
            strays: Arc::clone(&supervised.strays),
            requested: Arc::clone(&supervised.requested),
            tail: supervised.tail.clone(),
        }));
        (supervised, first_line)
    }

    pub(super) fn ended(&self) -> Ended {
        self.ended.clone()
    }

    /// Remembers the plugin's socket, to be removed with the plugin.
    pub(super) fn connected(&self, socket: &Socket, address: &Address) {
        self.strays.note(socket, address);
    }

    /// Opens what every connection has, and makes a plugin of the child.
    pub(super) fn finish(self, connected: Connected) -> Connection {
        let Connected { handshake, channel, session, tls, mux } = connected;
        let (medium, queue) = match mux {
            Some((mux, queue)) => (Medium::Mux(mux), queue),
            None => {
                let place = Place::Private(Arc::clone(&self.sockets));
                (Medium::Sockets { place, strays: Some(Arc::clone(&self.strays)) }, Queue::new())
            }
        };
        let broker = Broker::new(queue, medium, tls, self.ended());
        let (sink, message_limit) = (Arc::clone(&self.sink), self.message_limit);
        Connection::open(Box::new(self), handshake, channel, broker, sink, message_limit)
            .encrypted_as(session)
    }

    /// Ends the child after it had `patience` to end by itself, and returns what it left to say.
    pub(super) async fn evidence(&self, patience: Duration) -> Option<Evidence> {
        match timeout(patience, self.gone().wait()).await {
            Ok(exit) if !exit.requested => Some(Evidence::Exit(exit)),
            _ => {
                Some(end(self).await.stderr).filter(|words| !words.trim().is_empty()).map(Evidence::LastWords)
            }
        }
    }
}

impl Hold for Supervised {
    fn pid(&self) -> u32 {
        self.leash.pid()
    }

    fn gone(&self) -> Gone {
        self.gone.clone()
    }

    fn socket_dir(&self) -> Option<&Path> {
        Some(self.sockets.path())
    }

    fn is_under_test(&self) -> bool {
        false
    }

    fn last_words(&self) -> String {
        self.tail.text()
    }

    fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    fn terminate(&self) {
        self.request();
        self.leash.terminate();
    }

    fn kill(&self) {
        self.request();
        self.leash.kill();
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Watched {
    leash: Arc<Leash>,
    has_ended: watch::Sender<bool>,
    tell: watch::Sender<Option<Exit>>,
    readers: [JoinHandle<io::Result<()>>; 2],
    sockets: Arc<SocketDir>,
    strays: Arc<Strays>,
    requested: Arc<AtomicBool>,
    tail: Tail,
}

/// A child that nobody watches is killed.
impl Drop for Watched {
    fn drop(&mut self) {
        self.leash.kill();
    }
}

async fn monitor(mut watched: Watched) {
    let Watched { leash, has_ended, tell, readers, sockets, strays, requested, tail } = &mut watched;
    let pid = leash.pid();
    if let Err(error) = leash.ended().await {
        // A child that cannot be watched is not kept; reaping then waits for the moment it takes.
        tracing::error!(pid, error = chain(&error), "a child cannot be watched, and is killed");
        leash.kill();
    }
    let status = leash.reap();
    has_ended.send_replace(true);
    for reader in readers {
        match reader.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(pid, error = chain(&error), "a child's output cannot be read"),
            Err(error) => tracing::warn!(pid, error = chain(&error), "what a child writes is no longer read"),
        }
    }
    let mut sockets_left = sockets.left_by_the_plugin();
    sockets_left.append(&mut strays.remove());
    sockets.remove();
    let exit = Exit {
        status,
        requested: requested.load(Ordering::Relaxed),
        stderr: tail.text(),
        sockets_left: sockets_left.into_iter().collect(),
    };
    // Without its last words: they went where its prints go, which need not be the log.
    tracing::debug!(pid, requested = exit.requested, status = exit.status.map(display), "a child has ended");
    tell.send_replace(Some(exit));
}
