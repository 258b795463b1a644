//! What is wrong with a plugin, item by item of the protocol's checklist for plugins.
//!
//! Only what was seen is judged. What the checklist demands of a plugin and go-plugin itself does otherwise
//! counts as advice: the plugin's author cannot help it.

use std::io;

use portcullis_goplugin::log::LineFault;
use portcullis_goplugin::{HandshakeError, StartError};
use serde::Serialize;

use super::report::{NOBODY, Report, Says};

/// How long a plugin has to end, once it was asked.
const LATE: u64 = 2000;

/// Something that is wrong.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// The item of the checklist, for instance `P-10`.
    pub(super) item: &'static str,
    pub(super) weight: Weight,
    /// What was seen.
    pub(super) found: String,
    /// What to do about it.
    pub(super) advice: &'static str,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Weight {
    /// The protocol demands otherwise.
    Must,
    /// It would be better otherwise.
    Should,
}

/// How far a start came that failed.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// There was no process.
    NeverRan,
    /// It ended before it said anything of use, with this code.
    Ended(Option<i32>),
    /// It was too slow to print the line, or the end of it.
    Unfinished,
    /// It was too slow to be connected to.
    Slow,
    /// It said something that no host goes on with.
    Said(HandshakeError),
    /// It does not listen where it said.
    Deaf,
    /// It listens there, and does not speak TLS as it was asked to.
    Plain,
    /// It does not take our certificate.
    Rejected,
}

impl Stage {
    /// Tells how far it came that printed this, if anything.
    pub(super) fn of(error: &StartError, line: Option<&str>) -> Self {
        match error {
            StartError::Exited { exit, .. } => Self::Ended(exit.status.and_then(|status| status.code())),
            StartError::TimedOut { printed, .. } if line.is_none() || !printed.is_empty() => Self::Unfinished,
            StartError::TimedOut { .. } => Self::Slow,
            StartError::Handshake { error, .. } => Self::Said(error.clone()),
            // What comes there is read by nobody but TLS.
            StartError::Connect { error, .. } if error.kind() == io::ErrorKind::InvalidData => Self::Plain,
            StartError::Connect { .. } => Self::Deaf,
            StartError::Rejected { .. } => Self::Rejected,
            _ => Self::NeverRan,
        }
    }
}

/// Looks through everything that was found out.
pub(super) fn find(report: &Report) -> Vec<Finding> {
    let mut found = Findings(Vec::new());
    without_cookie(report, &mut found);
    start(report, &mut found);
    line(report, &mut found);
    socket(report, &mut found);
    tls(report, &mut found);
    services(report, &mut found);
    log(report, &mut found);
    shutdown(report, &mut found);
    found.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn must(&mut self, item: &'static str, found: impl Into<String>, advice: &'static str) {
        self.0.push(Finding { item, weight: Weight::Must, found: found.into(), advice });
    }

    fn should(&mut self, item: &'static str, found: impl Into<String>, advice: &'static str) {
        self.0.push(Finding { item, weight: Weight::Should, found: found.into(), advice });
    }
}

fn without_cookie(report: &Report, to: &mut Findings) {
    let Some(seen) = &report.without_cookie else { return };
    const ADVICE: &str = "compare the cookie before anything else; without it write a notice to stderr, nothing to \
                          stdout, and exit with code 1";
    if !seen.printed.is_empty() {
        to.must("P-01", format!("without the cookie it prints {:?}", short(&seen.printed)), ADVICE);
    } else if seen.code != Some(1) {
        to.must("P-01", format!("without the cookie it does not exit with code 1: {}", seen.ended), ADVICE);
    } else if !seen.gave_notice {
        to.must("P-01", "without the cookie it exits without a word", ADVICE);
    }
}

fn start(report: &Report, to: &mut Findings) {
    use HandshakeError as Error;

    const FIRST: &str = "print the handshake as the very first output, one line with its end, and flush it";
    const LISTEN: &str = "listen before printing the handshake, at an address that a host can connect to";
    match &report.stage {
        None | Some(Stage::NeverRan) => {}
        Some(Stage::Ended(Some(0))) => to.should(
            "P-15",
            "it ended with code 0 although it did not start",
            "exit with another code, and say why on stderr in a line of level error",
        ),
        // A plugin has to end so when the cookie is wrong, and perhaps it is.
        Some(Stage::Ended(_)) => {}
        Some(Stage::Unfinished) => to.must("P-08", "it printed no handshake in time", FIRST),
        Some(Stage::Slow) => to.must("P-07", "nobody can connect to it in time", LISTEN),
        Some(Stage::Deaf) => to.must("P-07", "nobody can connect to the address it printed", LISTEN),
        Some(Stage::Plain) => to.must(
            "P-23",
            "it does not speak TLS by the certificate that it shows",
            "serve mutual TLS when PLUGIN_CLIENT_CERT is set; in Go, a GRPCServer function has to pass on its options",
        ),
        Some(Stage::Rejected) => to.must(
            "P-25",
            "it does not accept the certificate in PLUGIN_CLIENT_CERT",
            "accept exactly that certificate from a client; P-256 and CA:TRUE have to be supported",
        ),
        Some(Stage::Said(error)) => match error {
            Error::Unrecognised { .. } | Error::TooLong { .. } => {
                to.must("P-08", "its first output is no handshake", FIRST);
            }
            // Plugins in Go may speak either, by version.
            Error::NetRpc { version } => to.must(
                "P-09",
                format!("it speaks net/rpc in version {version}, as only some hosts in Go do"),
                "serve gRPC, or ask with --protocol for a version of it that does",
            ),
            Error::CoreVersion { .. } | Error::Protocol { .. } => to.must(
                "P-09",
                "its first or fifth field is not the only one that hosts know",
                "print 1 as the core version and grpc as the protocol, and serve gRPC",
            ),
            Error::Address { .. } => to.must("P-07", "the address it printed cannot be used", LISTEN),
            Error::Certificate => to.must(
                "P-11",
                "it shows a certificate that it was not asked for",
                "leave the sixth field empty unless PLUGIN_CLIENT_CERT is set; a Go host crashes over it",
            ),
            Error::NoCertificate => to.must(
                "P-23",
                "it shows no certificate although PLUGIN_CLIENT_CERT is set",
                "enable mutual TLS then, and print the certificate as the sixth field",
            ),
            Error::BadCertificate { .. } => to.must(
                "P-11",
                "its sixth field is no certificate",
                "print the DER of the leaf in unpadded standard base64",
            ),
            Error::NoMultiplexing => to.must(
                "P-12",
                "it does not say true to PLUGIN_MULTIPLEX_GRPC",
                "support multiplexing as go-plugin does since 1.6, or probe without --mux",
            ),
            Error::Multiplexing { .. } => to.must(
                "P-12",
                "its seventh field is no truth value",
                "print true or false there, when PLUGIN_MULTIPLEX_GRPC is set",
            ),
            // That there is no version in common is nobody's fault.
            _ => {}
        },
    }
}

fn line(report: &Report, to: &mut Findings) {
    // Of what is no handshake, that is all there is to say.
    if matches!(
        &report.stage,
        Some(
            Stage::Unfinished
                | Stage::Said(HandshakeError::Unrecognised { .. } | HandshakeError::TooLong { .. })
        )
    ) {
        return;
    }
    let Some(handshake) = &report.handshake else { return };
    if handshake.fields < 6 {
        to.should(
            "P-10",
            format!("the handshake has {} fields", handshake.fields),
            "print six; without TLS the sixth is empty and the line ends in a bar",
        );
    }
    if handshake.certificate.as_deref().is_some_and(|field| field.contains('=')) {
        to.must("P-11", "the certificate is padded", "print it without padding; Go hosts refuse it");
    }
    if handshake.multiplexing.is_some() && !report.asked.mux {
        to.must(
            "P-12",
            "the handshake has a seventh field that was not asked for",
            "print it only when PLUGIN_MULTIPLEX_GRPC is set; to hosts before 1.6 it is part of the certificate",
        );
    }
    if report.told.raw_stdout.length > 0 {
        to.must(
            "P-08",
            format!("it wrote {} bytes to the raw stdout after the handshake", report.told.raw_stdout.length),
            "write nothing there but the handshake: hosts throw it away; prints go through the stdio service",
        );
    }
}

fn socket(report: &Report, to: &mut Findings) {
    let Some(reached) = &report.connection else { return };
    if reached.socket_in_place == Some(false) {
        to.should(
            "P-16",
            "its socket is not in PLUGIN_UNIX_SOCKET_DIR",
            "create sockets there when it is set; go-plugin does since 1.5",
        );
    }
    let shared = reached.socket_mode.as_deref().and_then(|mode| u32::from_str_radix(mode, 8).ok());
    if let Some(mode) = shared.filter(|mode| mode & 0o022 != 0) {
        to.should(
            "P-22",
            format!("others may connect to its socket: mode {mode:04o}"),
            "take the write permission of group and others from it, unless PLUGIN_UNIX_SOCKET_GROUP is set",
        );
    }
}

fn tls(report: &Report, to: &mut Findings) {
    if !report.asked.mtls {
        return;
    }
    if let Some(Says { names, valid_now, server_auth, client_auth, .. }) =
        report.certificate.as_ref().and_then(|certificate| certificate.says.as_ref())
    {
        let mut wrong = Vec::new();
        if !names.iter().any(|name| name == "localhost") {
            wrong.push("is not good for the name localhost");
        }
        if !valid_now {
            wrong.push("is not valid now");
        }
        if !server_auth || !client_auth {
            wrong.push("is not good for servers and clients both");
        }
        if !wrong.is_empty() {
            to.must(
                "P-24",
                format!("its certificate {}", wrong.join(", and ")),
                "give it the DNS name localhost, both extended key usages and a validity from now on; Go hosts look",
            );
        }
    }
    let alpn =
        report.connection.as_ref().and_then(|reached| reached.tls.as_ref()).map(|tls| tls.alpn.as_deref());
    if let Some(None) = alpn {
        to.must(
            "P-28",
            "it does not agree on a protocol inside TLS",
            "negotiate h2 by ALPN; grpc-go insists on it",
        );
    }
}

fn services(report: &Report, to: &mut Findings) {
    if let Some(health) = &report.health {
        if report.problem.is_some() {
            to.must(
                "P-32",
                "it answers no question",
                "serve gRPC at the address: without TLS unless PLUGIN_CLIENT_CERT is set (what brings TLS of its own is \
                 for hosts that know its certificate), without compression, and with more than one call at a time",
            );
        } else if health.plugin != "serving" {
            to.must(
                "P-32",
                format!("the health of \"plugin\" is: {}", health.plugin),
                "serve grpc.health.v1.Health and report the service plugin as SERVING",
            );
        }
        if let Some(server) = health.server.as_ref().filter(|server| *server != "serving") {
            to.should(
                "P-32",
                format!("the health of the empty name is: {server}"),
                "report the empty name as SERVING too",
            );
        }
        // Without a health service there is nothing more to say.
        let unknown = health.unknown.as_ref().filter(|_| health.plugin == "serving");
        if let Some(unknown) = unknown.filter(|unknown| *unknown != "no such service") {
            to.should(
                "P-32",
                format!("the health of {NOBODY:?} is: {unknown}"),
                "answer NOT_FOUND for names that are not served",
            );
        }
    }
    if let Some(streams) = &report.streams {
        if streams.stdio == "no such service" {
            to.should(
                "P-34",
                "it has no stdio stream",
                "serve plugin.GRPCStdio/StreamStdio, as go-plugin does since 1.1; hosts see nothing of what it prints",
            );
        } else if streams.stdio != "open" {
            to.must(
                "P-34",
                format!("the stdio stream is not kept open: {}", streams.stdio),
                "serve plugin.GRPCStdio/StreamStdio, and keep the call open even with nothing to say",
            );
        }
        if streams.broker != "open" {
            to.must(
                "P-35",
                format!("the broker's stream is not kept open: {}", streams.broker),
                "serve plugin.GRPCBroker/StartStream, and keep the call open",
            );
        }
    }
}

fn log(report: &Report, to: &mut Findings) {
    for faulty in report.told.faults.values() {
        let (item, advice) = match faulty.fault {
            LineFault::Time { .. } => {
                ("P-44", "write the time with exactly six digits of a fraction, and Z or an offset")
            }
            LineFault::Level { .. } => ("P-45", "name the level trace, debug, info, warn or error"),
            LineFault::Long => ("P-46", "cut lines off below 64 KiB, with a mark"),
            _ => (
                "P-43",
                "write one line of JSON with the texts @level, @message and @timestamp; anything else passes as text",
            ),
        };
        let times = if faulty.count == 1 { "a line".to_owned() } else { format!("{} lines", faulty.count) };
        let found = format!("{times} of its log: {}: {}", faulty.fault, short(&faulty.line));
        if is_read(&faulty.fault) {
            to.should(item, found, advice);
        } else {
            to.must(item, found, advice);
        }
    }
}

/// Returns whether hosts can use a line despite its fault.
fn is_read(fault: &LineFault) -> bool {
    match fault {
        // Hosts show it as text, like a struct that Go prints or a line of another logger. hclog itself can be told to
        // leave out the time.
        LineFault::NoJson | LineFault::Missing { .. } => true,
        LineFault::Level { found } => {
            let names = ["trace", "debug", "info", "warn", "error"];
            names.iter().any(|name| found.trim().eq_ignore_ascii_case(name))
        }
        _ => false,
    }
}

fn shutdown(report: &Report, to: &mut Findings) {
    // Who could not be asked to end has broken no promise about it.
    let Some(shutdown) = report.shutdown.as_ref().filter(|_| report.problem.is_none()) else { return };
    if !shutdown.has_controller {
        to.must(
            "P-33",
            "it knows no request to end",
            "serve plugin.GRPCController/Shutdown; without it Go's hosts wait two seconds and kill the plugin",
        );
    }
    if shutdown.killed {
        if shutdown.has_controller {
            to.must(
                "P-63",
                "it was asked to end, and had to be killed",
                "end the process within two seconds, whatever is still open",
            );
        }
    } else if shutdown.millis > LATE {
        to.must(
            "P-63",
            format!("it took {} ms to end", shutdown.millis),
            "end the process within two seconds, whatever is still open; hosts kill it then",
        );
    }
    if !shutdown.killed && shutdown.code != Some(0) {
        to.must("P-65", format!("it ended with {}", shutdown.exit), "exit with code 0 after Shutdown");
    }
    if !shutdown.killed && !shutdown.sockets_left.is_empty() {
        let found = format!("it left {}", shutdown.sockets_left.join(", "));
        if report.asked.mux {
            to.should("P-21", found, "remove the socket when the session ends; go-plugin itself leaves it");
        } else {
            to.must("P-70", found, "remove every socket file before the process ends");
        }
    }
}

/// Shortens what a plugin said to what a sentence can hold.
fn short(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}
