//! Serving, from the listener to the end.
//!
//! The end has this order. First the socket files are removed, so that a second request to end, upon which hosts kill,
//! leaves none. Then go-plugin's own streams end, because connections cannot end before them. Then nothing more is
//! accepted. Calls under way have their grace, and then connections are cut.
//! A graceful stop alone would wait for the host to close its streams, which no host does (protocol spec 26).

use std::future::pending;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::capture::{Captured, REST};
use super::ending::{End, Ending, Signals, Starter};
use super::invitation::{self, Invitation, Multiplex};
use super::line::{self, Line};
use super::output::Prints;
use super::{Capture, Listen, Parent, Serve, ServeError, Session, standard};
use crate::broker::{Medium, Queue};
use crate::identity::{self, Identity};
use crate::mux::{Mux, Role};
use crate::serving::{self, Placement, Terms};
use crate::tls::Tls;
use crate::transport::{Ended, Group, Listener, Place, Socket, incoming};
use crate::{Address, Broker, Stdio};

/// How many connections there may be. A guess, and hosts have one; further ones wait to be accepted.
const CONNECTIONS: usize = 1024;

/// How long the last answers have to leave. The one to the request to end is among them, and needs a millisecond.
const REPLY: Duration = Duration::from_millis(100);

/// How long a multiplexing host may take to connect. Go's plugins give up after five seconds, which is too soon for a slow host.
const FIRST_CONNECTION: Duration = Duration::from_secs(60);

/// How long the last bytes of a session's connections may take to its socket, and the last prints to the host. It takes
/// a moment; a guess.
const FLUSH: Duration = Duration::from_millis(20);

/// How long the rest of what was printed may take if the plugin does not start, which no host awaits.
const UNHURRIED: Duration = Duration::from_secs(1);

/// How much grace there can be at most. Hosts kill after two seconds.
const LONGEST_GRACE: Duration = Duration::from_millis(1500);

/// A plugin that listens.
pub(super) struct Running {
    session: Session,
    address: Address,
    server: Pin<Box<dyn Future<Output = ()> + Send>>,
    place: Cleared,
    grace: Duration,
    signals: Option<Signals>,
    starter: Option<Starter>,
    captured: Option<Captured>,
    /// The one session of a multiplexing host.
    mux: Option<Mux>,
    /// Dropped to cut the connections.
    cut: watch::Sender<()>,
    /// Dropped to tell hosts that no more calls are taken.
    goodbye: oneshot::Sender<()>,
    /// Set to end the broker's channels.
    has_ended: watch::Sender<bool>,
}

impl Running {
    /// Captures standard output, listens, makes the services, and prints the line.
    pub(super) async fn begin(
        serve: Serve,
        invitation: Invitation,
        placement: Placement,
    ) -> Result<Self, ServeError> {
        // Signals first, so that a plugin that is told to end while it starts leaves nothing.
        let mut signals = Signals::take().map_err(ServeError::Signals)?;
        let starter = match serve.parent {
            Parent::Ignore => None,
            Parent::Follow => Starter::find().map_err(ServeError::Parent)?,
        };
        let (certificate, tls) = match (&serve.tls, &invitation.certificate) {
            (Some(tls), _) => (String::new(), Some(tls.clone())),
            (None, Some(certificate)) => secure(certificate).map(|(field, tls)| (field, Some(tls)))?,
            (None, None) => (String::new(), None),
        };
        let prints = Prints::new(serve.output_limit);
        let captured = match serve.capture {
            Capture::Nothing => None,
            Capture::Stdout => {
                Some(Captured::stdout(prints.output(Stdio::Stdout)).map_err(ServeError::Capture)?)
            }
        };
        // Dropping what listens removes its sockets.
        let begun = tokio::select! {
            running = Self::listen(serve, &invitation, tls, prints.clone(), placement) => running,
            () = signals.terminated() => Err(ServeError::Ended { end: End::Terminated }),
            () = orphaned(starter.as_ref()) => Err(ServeError::Ended { end: End::Orphaned }),
        };
        let mut running = match begun {
            Ok(running) => Self { captured, ..running },
            Err(error) => {
                // No host will ask for what was printed on the way.
                if let Some(captured) = captured {
                    captured.release(UNHURRIED).await;
                    let _unread = std::io::stderr().write_all(&prints.rest());
                }
                return Err(error);
            }
        };
        let line = Line {
            version: running.session.version,
            address: &running.address,
            certificate: &certificate,
            multiplex: invitation.multiplex,
        };
        match &running.captured {
            None => line::print(&line, std::io::stdout()),
            Some(captured) => line::print(&line, captured.original()),
        }
        .map_err(ServeError::Announce)?;
        running.signals = Some(signals);
        running.starter = starter;
        Ok(running)
    }

    /// Listens and makes the services. Nobody is told yet.
    pub(super) async fn listen(
        mut serve: Serve,
        invitation: &Invitation,
        tls: Option<Tls>,
        prints: Prints,
        placement: Placement,
    ) -> Result<Self, ServeError> {
        let version = invitation::choose(serve.versions.keys().copied(), &invitation.versions);
        let chosen = version.and_then(|version| serve.versions.remove_entry(&version));
        let (version, services) = chosen.ok_or(ServeError::NoVersions)?;

        let place = Cleared(place(serve.listen, invitation)?);
        let listen = |source| ServeError::Listen { place: name(&place.0), source };
        let listener = place.0.bind().map_err(listen)?;
        let address = listener.address().map_err(listen)?;
        if !address.fits_a_line() {
            return Err(ServeError::Address { address });
        }
        let (has_ended, ended) = Ended::new();
        let queue = Queue::new();
        let (medium, listener, mux) = match invitation.multiplex {
            Multiplex::On => {
                let (mux, main) =
                    Mux::over(first(listener), Role::Plugin, queue.clone(), ended.clone().wait());
                (Medium::Mux(mux.clone()), Listener::Main(main), Some(mux))
            }
            Multiplex::Off | Multiplex::Unheard => {
                (Medium::Sockets { place: place.0.clone(), strays: None }, listener, None)
            }
        };
        let broker = Broker::new(queue, medium, tls.clone(), ended);
        let session = Session {
            version,
            broker,
            prints,
            ending: Ending::new(),
            message_limit: serve.message_limit,
            environment: invitation::for_children(&serve.variables, &serve.cookie).into(),
        };
        let application = tokio::select! {
            services = (services.0)(&session) => services.map_err(ServeError::Services)?,
            // The function that makes the services may have stopped the plugin.
            end = session.ended() => return Err(ServeError::Ended { end }),
        };
        let routes = standard::join(application, &session, &serve.descriptors)?;

        let (cut, over) = watch::channel(());
        let links = incoming(listener, tls, CONNECTIONS, move || {
            let mut over = over.clone();
            // The sender never sends; this ends when it is dropped.
            async move { drop(over.changed().await) }
        });
        let (goodbye, said) = oneshot::channel::<()>();
        // No limit on calls: the host is trusted, and a call may wait for another.
        let terms = Terms { placement, ..Terms::default() };
        let server = serving::serve(links, routes, terms, async { drop(said.await) });
        Ok(Self {
            session,
            address,
            server: Box::pin(server),
            place,
            grace: serve.grace.min(LONGEST_GRACE),
            signals: None,
            starter: None,
            captured: None,
            mux,
            cut,
            goodbye,
            has_ended,
        })
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Serves until the end, and returns what ended it.
    pub(super) async fn until_end(mut self) -> End {
        let end = tokio::select! {
            end = self.session.ending.wait() => end,
            () = terminated(self.signals.as_mut()) => End::Terminated,
            () = orphaned(self.starter.as_ref()) => End::Orphaned,
            // Nothing more can be accepted. That happens only when the one connection of a multiplexing host is lost.
            () = &mut self.server => End::Disconnected,
        };
        self.session.ending.bring(end);
        self.place.0.clear();
        self.session.ending.hide();
        self.close(end).await;
        end
    }

    /// Ends everything, in the order that the module describes.
    async fn close(self, end: End) {
        let Self { session, mut server, place, grace, captured, mux, cut, goodbye, has_ended, .. } = self;
        if let Some(captured) = captured {
            captured.release(REST).await;
        }
        session.prints.close();
        session.broker.close();
        // A host takes the end of the prints for a failure if their connection has ended before.
        let _unread = timeout(FLUSH, session.prints.are_taken()).await;
        drop(goodbye);
        if end != End::Disconnected {
            let wait = match end {
                End::Orphaned | End::Broken => REPLY,
                _ => grace + REPLY,
            };
            if timeout(wait, &mut server).await.is_err() {
                drop(cut);
                // Connections end at once now. One that does not is not waited for.
                let _stuck = timeout(REPLY, server).await;
            }
            if let Some(mux) = mux {
                // The last bytes of connections are still passing through the session, which some hosts then end.
                let _quiet = timeout(FLUSH, mux.ended()).await;
            }
        }
        has_ended.send_replace(true);
        drop(place);
    }
}

/// A place whose socket files are removed when this is dropped, even if the plugin does not start.
struct Cleared(Place);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// Waits until the process is told to end by a signal, if signals were taken over.
async fn terminated(signals: Option<&mut Signals>) {
    match signals {
        Some(signals) => signals.terminated().await,
        None => pending().await,
    }
}

/// Waits for the end of the process that started this one, if that means anything.
async fn orphaned(starter: Option<&Starter>) {
    match starter {
        Some(starter) => starter.ended().await,
        None => pending().await,
    }
}

/// Waits for the one connection of a multiplexing host. Nobody listens after that, and the socket file is gone.
async fn first(mut listener: Listener) -> Option<Socket> {
    timeout(FIRST_CONNECTION, listener.accept()).await.unwrap_or_default()
}

/// Sets up our side of TLS: the certificate for the line, and a setup that accepts only the host.
fn secure(certificate: &str) -> Result<(String, Tls), ServeError> {
    let host = identity::read_pem(certificate)?;
    let identity = Identity::generate(identity::provider())?;
    Ok((identity.to_field(), identity.trusting(host)?))
}

fn place(listen: Listen, invitation: &Invitation) -> Result<Place, ServeError> {
    match listen {
        Listen::Tcp => Ok(Place::Loopback(invitation.ports()?)),
        Listen::Unix => {
            let find =
                |group: String| Group::find(&group).map_err(|source| ServeError::Group { group, source });
            let group = invitation.group.clone().map(find);
            let directory = invitation.directory.as_ref().unwrap_or(&invitation.temporary).clone();
            Ok(Place::shared(directory, group.transpose()?))
        }
    }
}

/// Returns what an error calls the place.
fn name(place: &Place) -> PathBuf {
    match place {
        Place::Shared { directory, .. } => directory.clone(),
        _ => Path::new("127.0.0.1").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::ffi::OsString;
    use std::os::unix::net::UnixStream;

    use tokio::join;
    use tokio::time::{Instant, sleep};
    use tonic::service::Routes;

    use super::*;
    use crate::server::capture::TURN;
    use crate::{Cookie, Services};

    /// Whatever does not end is waited for no longer than this, one after the other.
    #[test]
    fn a_plugin_that_was_asked_to_end_ends_before_its_host_kills_it() {
        let longest = TURN + REST + FLUSH + LONGEST_GRACE + REPLY + REPLY + FLUSH;
        assert!(longest < Duration::from_secs(2), "{longest:?}"); // P-63
    }

    /// Its program may end at once, and not wait for the task that listens for the one connection.
    #[tokio::test]
    async fn nothing_is_left_of_a_plugin_whose_services_cannot_be_made() {
        type Made = Result<Routes, Box<dyn Error + Send + Sync>>;

        let directory = tempfile::tempdir().unwrap();
        let mut serve = Serve::new(Cookie::new("KEY", "value"));
        let services = Services::made_by(async |_: Session| -> Made { Err("it was not to be".into()) });
        serve.versions.insert(1, services);
        let variables: [(OsString, OsString); 3] = [
            ("KEY".into(), "value".into()),
            ("PLUGIN_MULTIPLEX_GRPC".into(), "true".into()),
            ("PLUGIN_UNIX_SOCKET_DIR".into(), directory.path().into()),
        ];
        let invitation = Invitation::read(&variables, &serve.cookie).unwrap();
        let listening = Running::listen(serve, &invitation, None, Prints::new(0), Placement::default()).await;
        assert!(matches!(listening, Err(ServeError::Services(_))));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_multiplexing_host_has_a_minute_to_connect_and_no_longer() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::shared(directory.path().to_owned(), None);
        let begun = Instant::now();
        assert!(first(place.bind().unwrap()).await.is_none()); // P-61
        assert_eq!(begun.elapsed(), Duration::from_secs(60));

        let listener = place.bind().unwrap();
        let address = listener.address().unwrap();
        let (accepted, host) = join!(first(listener), async {
            sleep(Duration::from_secs(59)).await;
            UnixStream::connect(address.file().unwrap())
        });
        assert!(accepted.is_some() && host.is_ok());
    }
}
