//! What was found out about a plugin, as data.
//!
//! What a plugin said stands here as it said it; every form of output is made of this.

use std::error::Error;
use std::iter::successors;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use portcullis_goplugin::{
    Address, Asked, Certificate as Shown, Connection, Ending, Health as Answer, PingError, ReflectionError,
    ServiceList as Offered, Standing, StartError, Streams as Kept,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::findings::{self, Finding, Stage};
use super::heard::{Heard, Told};
use crate::{exit, moment};

/// A service that no plugin has.
pub(super) const NOBODY: &str = "portcullis.probe.Nobody";

/// Everything that was found out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) binary: String,
    /// What it was asked for.
    pub(super) asked: Wishes,
    /// Why it cannot be spoken with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
    pub(super) handshake: Option<Handshake>,
    pub(super) connection: Option<Reached>,
    pub(super) certificate: Option<Certificate>,
    pub(super) health: Option<Health>,
    pub(super) services: Option<Services>,
    pub(super) streams: Option<Streams>,
    pub(super) log: Vec<Line>,
    pub(super) log_left_out: usize,
    pub(super) printed: Prints,
    pub(super) shutdown: Option<Shutdown>,
    pub(super) without_cookie: Option<WithoutCookie>,
    pub(super) findings: Vec<Finding>,
    #[serde(skip)]
    pub(super) told: Told,
    /// How the start failed, if it did.
    #[serde(skip)]
    pub(super) stage: Option<Stage>,
}

/// What a binary is asked for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wishes {
    pub(super) versions: Vec<u32>,
    /// Whether connections are to be encrypted.
    pub(super) mtls: bool,
    /// Whether all connections are to go over one socket.
    pub(super) mux: bool,
}

/// The line, and what its fields are by their place.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Handshake {
    pub(super) line: String,
    pub(super) fields: usize,
    pub(super) core_version: Option<String>,
    pub(super) version: Option<String>,
    pub(super) network: Option<String>,
    pub(super) address: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) certificate: Option<String>,
    pub(super) multiplexing: Option<String>,
}

/// The connection that came about.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reached {
    pub(super) network: String,
    pub(super) address: String,
    pub(super) negotiated_version: u32,
    pub(super) pid: u32,
    pub(super) millis: u64,
    pub(super) tls: Option<Tls>,
    pub(super) multiplexed: bool,
    /// Who may connect to its socket, as octal digits.
    pub(super) socket_mode: Option<String>,
    /// Whether its socket is where it was told to have it.
    pub(super) socket_in_place: Option<bool>,
}

#[derive(Debug, Serialize)]
pub(super) struct Tls {
    pub(super) version: String,
    pub(super) suite: String,
    pub(super) alpn: Option<String>,
}

/// The certificate that it showed, and what that says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Certificate {
    pub(super) sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
    #[serde(flatten)]
    pub(super) says: Option<Says>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Says {
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) serial: String,
    pub(super) names: Vec<String>,
    pub(super) key: String,
    pub(super) not_before: String,
    pub(super) not_after: String,
    pub(super) valid_now: bool,
    pub(super) authority: bool,
    pub(super) server_auth: bool,
    pub(super) client_auth: bool,
}

/// What it says of its health, in words: `serving` is the good one.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    pub(super) plugin: String,
    pub(super) server: Option<String>,
    pub(super) unknown: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Services {
    /// The version of server reflection, if it has any.
    pub(super) reflection: Option<&'static str>,
    pub(super) names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
}

/// How the streams that it should keep open were getting on, in words: `open` is the good one.
#[derive(Debug, Serialize)]
pub(super) struct Streams {
    pub(super) broker: String,
    pub(super) stdio: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub(super) level: &'static str,
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) module: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timestamp: Option<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) fields: Map<String, Value>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Prints {
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// What came on the raw standard output after the handshake.
    pub(super) raw_stdout: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shutdown {
    /// How it took the request to end.
    pub(super) answer: String,
    pub(super) exit: String,
    pub(super) code: Option<i32>,
    pub(super) millis: u64,
    pub(super) killed: bool,
    pub(super) sockets_left: Vec<String>,
    #[serde(skip)]
    pub(super) has_controller: bool,
}

/// What it did when it was started without its cookie.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WithoutCookie {
    pub(super) ended: String,
    pub(super) code: Option<i32>,
    pub(super) printed: String,
    pub(super) gave_notice: bool,
}

impl Report {
    /// Begins with a binary of which this is asked.
    pub(super) fn of(binary: &Path, asked: Wishes) -> Self {
        Self {
            binary: binary.display().to_string(),
            asked,
            problem: None,
            handshake: None,
            connection: None,
            certificate: None,
            health: None,
            services: None,
            streams: None,
            log: Vec::new(),
            log_left_out: 0,
            printed: Prints::default(),
            shutdown: None,
            without_cookie: None,
            findings: Vec::new(),
            told: Told::default(),
            stage: None,
        }
    }

    /// Notes that it cannot be spoken with.
    pub(super) fn fail(&mut self, error: StartError, heard: &Heard) {
        self.stage = Some(Stage::of(&error, heard.told().first_line.as_deref()));
        self.problem = Some(exit::chain(&error.into()));
    }

    /// Tells whether there was a process at all.
    pub(super) fn has_run(&self) -> bool {
        !matches!(self.stage, Some(Stage::NeverRan))
    }

    /// Notes what is known once it is connected to.
    pub(super) fn meet(&mut self, plugin: &Connection, started: Duration) {
        let address = plugin.address();
        let mode = address.file().and_then(|file| std::fs::metadata(file).ok());
        let mode = mode.map(|meta| meta.permissions().mode() & 0o777);
        let in_place = match (address, plugin.socket_dir()) {
            (Address::Unix(path), Some(directory)) => Some(path.starts_with(directory)),
            _ => None,
        };
        self.connection = Some(Reached {
            network: address.network().to_owned(),
            address: address.to_string(),
            negotiated_version: plugin.negotiated_version(),
            pid: plugin.pid(),
            millis: millis(started),
            tls: plugin.tls_session().map(|session| Tls {
                version: session.version.clone(),
                suite: session.suite.clone(),
                alpn: session.alpn.clone(),
            }),
            multiplexed: self.asked.mux,
            socket_mode: mode.map(|mode| format!("{mode:04o}")),
            socket_in_place: in_place,
        });
    }

    /// Notes how it ended.
    pub(super) fn end(&mut self, ending: Ending) {
        let Ending { asked, took, killed, exit, .. } = ending;
        let answer = match &asked {
            Asked::Not => "it had ended before it was asked",
            // Nothing else could be asked, either.
            Asked::Cut | Asked::Unanswered if self.problem.is_some() => "could not be asked",
            Asked::Answered => "answered",
            Asked::Cut => "ended the connection without an answer, as plugins in Go do",
            Asked::Absent => "knows no such request",
            Asked::Failed(words) => words,
            Asked::Unanswered => "did not answer",
            _ => "unknown",
        };
        self.shutdown = Some(Shutdown {
            answer: answer.to_owned(),
            exit: exit.status.map_or_else(|| "unknown".to_owned(), |status| status.to_string()),
            code: exit.status.and_then(|status| status.code()),
            millis: millis(took),
            killed,
            sockets_left: exit.sockets_left.iter().map(|path| path.display().to_string()).collect(),
            has_controller: asked != Asked::Absent,
        });
    }

    /// Notes what it said meanwhile.
    pub(super) fn hear(&mut self, heard: &Heard) {
        self.told = heard.told();
        self.handshake = self.told.first_line.as_deref().map(Handshake::of);
        let field = self.handshake.as_ref().and_then(|handshake| handshake.certificate.as_deref());
        self.certificate = field.filter(|text| !text.is_empty()).map(Certificate::of);
        self.log_left_out = self.told.log_left_out;
        self.log = self.told.log.iter().map(Line::of).collect();
        self.printed = Prints {
            stdout: self.told.stdout.text(),
            stderr: self.told.stderr.text(),
            raw_stdout: self.told.raw_stdout.text(),
        };
    }

    /// Finds what is wrong with all that.
    pub(super) fn judge(&mut self) {
        self.findings = findings::find(self);
    }
}

impl Handshake {
    fn of(line: &str) -> Self {
        let mut fields = line.trim().split('|').map(str::to_owned);
        let count = fields.clone().count();
        let mut next = || fields.next();
        Self {
            line: line.to_owned(),
            fields: count,
            core_version: next(),
            version: next(),
            network: next(),
            address: next(),
            protocol: next(),
            certificate: next(),
            multiplexing: next(),
        }
    }
}

impl Certificate {
    fn of(field: &str) -> Self {
        let shown = match Shown::from_field(field) {
            Ok(shown) => shown,
            Err(error) => {
                return Self { sha256: String::new(), problem: Some(error.to_string()), says: None };
            }
        };
        let sha256 = shown.sha256().iter().map(|byte| format!("{byte:02x}")).collect();
        match shown.facts() {
            Err(error) => Self { sha256, problem: Some(error.to_string()), says: None },
            Ok(facts) => Self {
                sha256,
                problem: None,
                says: Some(Says {
                    valid_now: facts.is_valid_at(SystemTime::now()),
                    subject: facts.subject,
                    issuer: facts.issuer,
                    serial: facts.serial,
                    names: facts.names,
                    key: facts.key,
                    not_before: moment::to_text(facts.not_before),
                    not_after: moment::to_text(facts.not_after),
                    authority: facts.authority,
                    server_auth: facts.server,
                    client_auth: facts.client,
                }),
            },
        }
    }
}

impl Line {
    fn of(entry: &portcullis_goplugin::log::Entry) -> Self {
        Self {
            level: entry.level.name(),
            message: entry.message.clone(),
            module: entry.target.clone(),
            timestamp: entry.timestamp.clone(),
            fields: entry.fields.iter().cloned().collect(),
        }
    }
}

/// Returns a health in words.
pub(super) fn health(answer: Result<Answer, PingError>) -> String {
    match answer {
        Ok(Answer::Serving) => "serving".to_owned(),
        Ok(Answer::NotServing) => "not serving".to_owned(),
        Ok(Answer::Unsaid) => "does not say".to_owned(),
        Ok(Answer::NoSuchService) => "no such service".to_owned(),
        Err(error) => reason(&error),
    }
}

/// Returns an error and its root cause. The errors in between repeat them in gRPC's words.
fn reason(error: &dyn Error) -> String {
    match successors(error.source(), |error| (*error).source()).last() {
        Some(first) => format!("{error}: {first}"),
        None => error.to_string(),
    }
}

/// Returns what it offers.
pub(super) fn services(answer: Result<Option<Offered>, ReflectionError>) -> Services {
    match answer {
        Ok(Some(offered)) => {
            Services { reflection: Some(offered.reflection), names: offered.names, problem: None }
        }
        Ok(None) => Services { reflection: None, names: Vec::new(), problem: None },
        Err(error) => Services { reflection: None, names: Vec::new(), problem: Some(reason(&error)) },
    }
}

/// Returns how its streams are getting on, in words.
pub(super) fn streams(kept: &Kept) -> Streams {
    let words = |standing: &Standing| match standing {
        Standing::Open => "open".to_owned(),
        Standing::Absent => "no such service".to_owned(),
        Standing::Ended => "ended".to_owned(),
        Standing::Failed(words) => words.clone(),
        _ => "unknown".to_owned(),
    };
    Streams { broker: words(&kept.broker), stdio: words(&kept.stdio) }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart_by_place_whatever_it_says() {
        let handshake = Handshake::of("1|5|unix|/tmp/p|grpc|\n");
        assert_eq!((handshake.fields, handshake.certificate.as_deref()), (6, Some("")));
        assert_eq!(handshake.multiplexing, None);
        assert_eq!(Handshake::of("hello").core_version.as_deref(), Some("hello"));
    }
}
