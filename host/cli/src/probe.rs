//! `portcullis probe`: what a go-plugin binary does when a host comes, and what is wrong with it.
//!
//! It takes any binary whose cookie is known, whatever that serves. The binary is started, examined and asked to end;
//! then, unless an option says not to, it is started once more without the cookie, which it has to refuse. What the
//! protocol's checklist does not cover is shown and not judged.
//!
//! The exit code is 0 for a plugin that does all it must, 1 for one that cannot be spoken with, and 2, upstream's
//! "validation failed", for one that works and yet does something that it must not; 4 if there is no such file.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use portcullis_goplugin::{
    Connection, Cookie, Encryption, Environment, Evidence, Launch, PingError, StartError, Versions,
};

use crate::exit::{Exit, Failure, OrExit as _};
use crate::output::{Format, print_or_end};
use crate::signals::Signals;
use crate::{Session, duration};

mod findings;
mod heard;
mod page;
mod report;

use findings::Weight;
use heard::Heard;
use report::{Report, Wishes, WithoutCookie};

/// How long one question may take. A guess; whatever answers at all answers in a millisecond.
const ANSWER: Duration = Duration::from_secs(5);

/// How long to wait for the plugin to refuse the two streams that it should keep open. Unimplemented calls fail at
/// once; a plugin that is slower to refuse passes wrongly.
const REFUSAL: Duration = Duration::from_millis(150);

/// How long it may take to end. Longer than the 2 seconds that the protocol gives it, to tell late from
/// never.
const GRACE: Duration = Duration::from_secs(3);

/// How long it may take to end without a cookie. One that refuses does so before anything else.
const REFUSED: Duration = Duration::from_secs(5);

/// What the exit codes mean, for the help.
const EXIT_CODES: &str = "Exit codes: 0 it does all that it must; 1 it cannot be spoken with; \
                          2 it can, and breaks the protocol; 4 there is no such file";

/// Options of `probe`.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ProbeArgs {
    /// The go-plugin binary
    #[arg(value_name = "BINARY")]
    binary: PathBuf,

    /// Arguments for the binary
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,

    /// The magic cookie by which the binary knows that a host started it
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    cookie: (String, String),

    /// Version of the application's protocol to offer; may be given several times
    #[arg(long = "protocol", value_name = "N", default_values_t = [1])]
    versions: Vec<u32>,

    /// Ask for connections that are encrypted (AutoMTLS)
    #[arg(long)]
    mtls: bool,

    /// Ask for one socket for all connections (multiplexing)
    #[arg(long)]
    mux: bool,

    /// Variable for the binary, beside what most programs need; `inherit` hands over all; may be given several times
    #[arg(long, value_name = "KEY=VALUE|inherit")]
    env: Vec<String>,

    /// How long the start may take
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,

    /// Do not start the binary a second time, without its cookie
    #[arg(long)]
    no_cookie_check: bool,

    /// Form of the output: auto, table, json, yaml, quiet (default: table)
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

/// Runs the command.
pub(crate) async fn main(session: &Session, args: ProbeArgs, signals: &mut Signals) -> Result<Exit, Failure> {
    let format = Format::parse(args.output.as_deref(), Format::Table)?;
    let variables = variables(session, &args).or_exit(Exit::InvalidInput)?;
    signals.listen()?;
    let report = tokio::select! {
        report = probe(&args, &variables) => report,
        // Whatever it has started is killed with the future.
        exit = signals.next() => return Ok(exit),
    };
    let text = if format == Format::Table { page::write(&report) } else { format.show(&report)? };
    if let Some(exit) = print_or_end(text, signals).await? {
        return Ok(exit);
    }
    Ok(match &report {
        Report { problem: Some(_), .. } if !args.binary.exists() => Exit::NotFound,
        Report { problem: Some(_), .. } => Exit::Failed,
        Report { findings, .. } if findings.iter().any(|finding| finding.weight == Weight::Must) => {
            Exit::Deviates
        }
        _ => Exit::Done,
    })
}

async fn probe(args: &ProbeArgs, variables: &[(OsString, OsString)]) -> Report {
    let heard = Arc::new(Heard::default());
    let mut launch = launch(args, variables, &heard);
    launch.cookie = Cookie::new(args.cookie.0.clone(), args.cookie.1.clone());
    launch.start_timeout = args.timeout;
    launch.multiplex = args.mux;
    if args.mtls {
        launch.encryption = Encryption::AutoMtls;
    }

    let asked = Wishes { versions: args.versions.clone(), mtls: args.mtls, mux: args.mux };
    let mut report = Report::of(&args.binary, asked);
    let begin = Instant::now();
    match launch.start().await {
        Ok(plugin) => talk(&plugin, begin.elapsed(), &mut report).await,
        Err(error) => report.fail(error, &heard),
    }
    report.hear(&heard);
    if !args.no_cookie_check && report.has_run() {
        report.without_cookie = Some(without_cookie(args, variables).await);
    }
    report.judge();
    report
}

/// Looks at a running plugin, and ends it.
async fn talk(plugin: &Connection, started: Duration, report: &mut Report) {
    report.meet(plugin, started);
    let first = plugin.health("plugin", ANSWER).await;
    let speaks = matches!(first, Ok(_) | Err(PingError::Absent));
    let mut health = report::Health { plugin: report::health(first), server: None, unknown: None };
    if speaks {
        health.server = Some(report::health(plugin.health("", ANSWER).await));
        health.unknown = Some(report::health(plugin.health(report::NOBODY, ANSWER).await));
        report.services = Some(report::services(plugin.services(ANSWER).await));
        report.streams = Some(report::streams(&plugin.streams(REFUSAL).await));
    } else {
        // Whatever listens there would answer every other question in the same way.
        report.problem = Some(format!("connected to, it does not answer: {}", health.plugin));
    }
    report.health = Some(health);
    report.end(plugin.stop_and_tell(GRACE).await);
}

/// Starts the binary as somebody would who knows no better.
async fn without_cookie(args: &ProbeArgs, variables: &[(OsString, OsString)]) -> WithoutCookie {
    let heard = Arc::new(Heard::default());
    let mut launch = launch(args, variables, &heard);
    launch.start_timeout = args.timeout.min(REFUSED);
    let (exit, ended) = match launch.start().await {
        Ok(plugin) => {
            plugin.stop(Duration::ZERO).await;
            (None, "it served".to_owned())
        }
        Err(StartError::Exited { exit, .. }) => {
            let ended = exit.status.map_or_else(|| "it ended".to_owned(), |status| status.to_string());
            (exit.status, ended)
        }
        Err(StartError::Handshake { evidence: Some(Evidence::Exit(exit)), .. }) => {
            (exit.status, "it printed and ended".to_owned())
        }
        Err(StartError::TimedOut { limit, .. }) => (None, format!("it had not ended after {limit:?}")),
        Err(error) => (None, error.to_string()),
    };
    let told = heard.told();
    WithoutCookie {
        ended,
        code: exit.and_then(|status| status.code()),
        printed: told.first_line.unwrap_or_default(),
        gave_notice: !told.log.is_empty(),
    }
}

/// Returns a start of the binary that offers it everything but the cookie.
fn launch(args: &ProbeArgs, variables: &[(OsString, OsString)], heard: &Arc<Heard>) -> Launch {
    let nothing = Cookie::new("PORTCULLIS_PROBE", "without cookie");
    let mut launch = Launch::new(args.binary.clone(), nothing, Versions::from_iter(args.versions.clone()));
    launch.arguments.clone_from(&args.arguments);
    launch.environment = Environment::Only(variables.to_vec());
    launch.sink = Arc::clone(heard) as _;
    launch
}

/// Returns what the binary finds in its environment, without the cookie.
fn variables(session: &Session, args: &ProbeArgs) -> anyhow::Result<Vec<(OsString, OsString)>> {
    let all = &session.environment.variables;
    let (mut variables, mut named) = (portcullis::process::usual_environment(all), Vec::new());
    for text in &args.env {
        match (text.as_str(), pair(text)) {
            ("inherit", _) => variables = all.clone(),
            (_, Ok((key, value))) => named.push((key.into(), value.into())),
            (_, Err(error)) => bail!("--env: {error}, or inherit"),
        }
    }
    // Of two that are named the later one counts, and of two that a start is given the first.
    named.reverse();
    named.append(&mut variables);
    named.retain(|(key, _)| key != args.cookie.0.as_str());
    Ok(named)
}

/// Reads a name and what it is to be.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not of the form KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_has_a_name_and_any_value() {
        assert_eq!(pair("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(pair("A="), Ok(("A".to_owned(), String::new())));
        assert_eq!(pair("=b"), Err("\"=b\" is not of the form KEY=VALUE".to_owned()));
        assert!(pair("A").is_err());
    }
}
