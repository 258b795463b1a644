//! `portcullis run`: one execution of one provider.
//!
//! Options, sentences and the printed result are those of upstream's `run provider` (contract spec 10.4).

use std::ffi::OsString;
use std::io::stdin;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use portcullis::host::{ExecuteError, InputCheck, OutputSink, Ran, Run, RunError};
use portcullis_contract::{Capability, Context, Environment, Json, Kind, Prints, Stdin, quoted};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::exit::{Exit, Failure, OrExit as _};
use crate::output::{Format, complain_or_end, print_or_end};
use crate::setup::{EnvArg, GrantedTo, Personal, PluginArgs, SecretsFile, wanted_of};
use crate::signals::Signals;
use crate::stderr::PluginPrints;
use crate::{Session, duration, ending, errors, inputs, path, profile, setup};

mod directory;
mod result;
mod streams;
mod tame;

use directory::Made;
use result::Outcome;
use streams::Streams;

/// What may be done about a file that exists.
const CONFLICT_STRATEGIES: [&str; 5] = ["error", "overwrite", "skip", "skip-unchanged", "append"];

/// Options of `run`.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Name of a provider, or path of a plugin's file (with a slash in it)
    #[arg(value_name = "PROVIDER|FILE")]
    target: OsString,

    /// Inputs: key=value, key=@file, or @file to load several from YAML or JSON (@- is stdin)
    #[arg(value_name = "KEY=VALUE|@FILE")]
    arguments: Vec<String>,

    #[command(flatten)]
    plugins: PluginArgs,

    /// Provider that is meant when a file offers several
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,

    /// Provider input parameters (key=value or @file.yaml); may be given several times
    #[arg(long = "input", value_name = "KEY=VALUE|@FILE", allow_hyphen_values = true)]
    inputs: Vec<String>,

    /// Capability to execute (default: one that may write for a write operation, else the first declared)
    #[arg(long, value_name = "CAPABILITY")]
    capability: Option<String>,

    /// Ask the provider to change nothing
    #[arg(long)]
    dry_run: bool,

    /// Show execution metrics after completion (on stderr, and as `__execution` in the data)
    #[arg(long)]
    show_metrics: bool,

    /// Redact sensitive fields in the output
    #[arg(long)]
    redact: bool,

    /// Directory for file operations of actions (applies when the capability is action)
    #[arg(long, value_name = "DIR")]
    output_dir: Option<OsString>,

    /// What to do about a file that exists (error|overwrite|skip|skip-unchanged|append)
    #[arg(long, value_name = "STRATEGY")]
    on_conflict: Option<String>,

    /// Keep a .bak copy of a file before changing it
    #[arg(long)]
    backup: bool,

    /// Form of the output: auto, table, json, yaml, quiet (default: json)
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,

    /// File of secrets (a JSON object), all of which the plugin may read and change in this run
    #[arg(long, value_name = "FILE")]
    secrets_file: Option<PathBuf>,

    /// Account that is meant where the provider asks who is logged in, of several that an auth handler keeps
    #[arg(long, value_name = "NAME", value_parser = profile::parse)]
    auth_profile: Option<String>,

    /// Do not ask for output while the provider runs
    #[arg(long)]
    no_stream: bool,

    /// What a native plugin sees of the environment (default: what the policy says, else usual)
    #[arg(long, value_name = "WHAT")]
    env: Option<EnvArg>,

    /// What a native plugin reads from stdin (default: what the policy says, else null)
    #[arg(long, value_name = "WHAT")]
    stdin: Option<StdinArg>,

    /// How long all of it may take, for instance 30s
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// Hand the inputs over as they are: no defaults, no coercion, no validation
    #[arg(long)]
    no_validate: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StdinArg {
    /// Nothing
    Null,
    /// What this command would read
    Inherit,
}

/// Runs the command.
pub(crate) async fn main(session: &Session, args: RunArgs, signals: &mut Signals) -> Result<Exit, Failure> {
    let format = Format::parse(args.output.as_deref(), Format::Json)?;
    let wanted = wanted_of(&args.target, "--provider", args.provider.as_deref())?;
    let began = Instant::now();
    signals.listen()?;
    // Inputs may come from a pipe that nobody writes to.
    let (mut request, made) = tokio::select! {
        request = request(session, &args) => request?,
        exit = signals.next() => return Ok(exit),
    };
    request.timeout = args.timeout.map(|limit| limit.saturating_sub(began.elapsed()));
    let host = setup::host(session, &args.plugins, &personal(session, &args, format))?;
    let nobody_reads = Arc::new(Notify::new());
    let terminals = [session.environment.stdout_is_terminal, session.environment.stderr_is_terminal];
    let mut streams = Streams::new(format, terminals, Arc::clone(&nobody_reads));
    let sink = (!args.no_stream).then_some(&mut streams as &mut dyn OutputSink);
    // If the signal wins, the run is dropped and so abandoned; the plugin is stopped below.
    let ended = tokio::select! {
        outcome = host.run(&wanted, args.plugins.describe(), request, sink) => Ended::ByItself(outcome),
        exit = signals.next() => Ended::BySignal(exit),
        () = nobody_reads.notified() => Ended::Unread,
    };
    // A prompt, or why it failed.
    let more_follows = session.environment.stderr_is_terminal || matches!(ended, Ended::ByItself(Err(_)));
    let finished = async {
        streams.end_stdout_line().await;
        match more_follows {
            true => streams.end_stderr_line().await,
            false => streams.end_stderr().await,
        }
    };
    let ended = tokio::select! {
        () = finished => ended,
        exit = signals.patience() => Ended::BySignal(exit),
    };
    ending::stop(&host, signals).await;
    if let Some(exit) = ending::printed(signals).await {
        return Ok(exit);
    }

    let outcome = match ended {
        Ended::ByItself(outcome) => outcome,
        Ended::BySignal(exit) => return Ok(exit),
        Ended::Unread => return streams.take_failure().map_or(Ok(Exit::Done), |error| Err(error.into())),
    };
    match outcome {
        Ok(ran) => {
            if ran.capability == Capability::ACTION && !ran.dry_run {
                made.keep();
            }
            match streams.take_failure() {
                Some(error) => Err(error.into()),
                None => show(session, &args, &ran, format, signals).await,
            }
        }
        Err(error) => explain(session, &args, error, signals).await,
    }
}

#[expect(clippy::large_enum_variant, reason = "there is one of it")]
enum Ended {
    ByItself(Result<Ran, RunError>),
    BySignal(Exit),
    /// Whoever read the output has gone, or it takes no more.
    Unread,
}

/// Returns what the person who types grants for this run.
fn personal(session: &Session, args: &RunArgs, format: Format) -> Personal {
    let secrets = args.secrets_file.clone();
    Personal {
        secrets: secrets.map(|path| SecretsFile { path, granted_to: GrantedTo::Named(Kind::Provider) }),
        person: None,
        prints: (format != Format::Quiet && !session.quiet)
            .then(|| Arc::new(PluginPrints) as Arc<dyn Prints>),
        profile: profile::meant(args.auth_profile.as_deref()),
        environment: args.env.map(Environment::from),
        stdin: args.stdin.map(|stdin| match stdin {
            StdinArg::Null => Stdin::Null,
            StdinArg::Inherit => Stdin::Inherit,
        }),
    }
}

async fn request(session: &Session, args: &RunArgs) -> Result<(Run, Made), Failure> {
    let conflict_strategy = args.on_conflict.clone().filter(|strategy| !strategy.is_empty());
    if let Some(strategy) = &conflict_strategy
        && !CONFLICT_STRATEGIES.contains(&strategy.as_str())
    {
        let valid = CONFLICT_STRATEGIES.join(", ");
        return Err(anyhow!("invalid --on-conflict value {} (valid: {valid})", quoted(strategy)))
            .or_exit(Exit::InvalidInput);
    }
    if args.stdin.is_some_and(|stdin| matches!(stdin, StdinArg::Inherit))
        && inputs::reads_stdin(&args.inputs, &args.arguments)
    {
        return Err(anyhow!("--stdin inherit and @- both read stdin")).or_exit(Exit::InvalidInput);
    }
    let input = input(args).await?;
    let wished = args.output_dir.as_deref().filter(|directory| !directory.is_empty());
    let output_directory = wished.map(|directory| output_directory(session, Path::new(directory), args));
    let (output_directory, made) = output_directory.transpose()?.flatten().unzip();
    let request = Run {
        input: Some(input),
        capability: args.capability.clone().filter(|capability| !capability.is_empty()),
        context: Context {
            dry_run: args.dry_run,
            working_directory: session.working_directory.clone(),
            output_directory,
            conflict_strategy,
            backup: args.backup,
            auth_profile: profile::meant(args.auth_profile.as_deref()),
            ..Context::default()
        },
        timeout: None,
        input_check: if args.no_validate { InputCheck::None } else { InputCheck::Full },
    };
    Ok((request, made.unwrap_or_default()))
}

/// Reads the inputs within the deadline of the whole run: nothing may ever be written to a pipe.
async fn input(args: &RunArgs) -> Result<Json, Failure> {
    let (flags, arguments) = (args.inputs.clone(), args.arguments.clone());
    // After a timeout it goes on reading until the process ends.
    let reading = tokio::task::spawn_blocking(move || inputs::read(&flags, &arguments, stdin()));
    let read = match args.timeout {
        Some(limit) => {
            timeout(limit, reading).await.map_err(|_elapsed| errors::run(RunError::TimedOut { limit }))?
        }
        None => reading.await,
    };
    read?.or_exit(Exit::InvalidInput)
}

/// Returns the directory of an action's files, and makes it. `None` if the run is known to be no action.
///
/// That is known only if a capability was given; without one the directory is made in case.
fn output_directory(
    session: &Session,
    directory: &Path,
    args: &RunArgs,
) -> Result<Option<(String, Made)>, Failure> {
    if args.capability.as_deref().is_some_and(|capability| !matches!(capability, "" | "action")) {
        return Ok(None);
    }
    let whole = path::whole(directory, || session.environment.here())
        .with_context(|| {
            format!("failed to resolve output directory {}", quoted(&directory.to_string_lossy()))
        })
        .or_exit(Exit::InvalidInput)?;
    let made = Made::make(Path::new(&whole));
    let made = match args.dry_run {
        // For as long as it runs: a plugin that was granted it does not start without.
        true => made.unwrap_or_default(),
        false => made
            .map_err(|error| path::not_made(Path::new(&whole), &error))
            .with_context(|| format!("failed to create output directory {}", quoted(&whole)))
            .or_exit(Exit::InvalidInput)?,
    };
    Ok(Some((whole, made)))
}

/// Prints what a run returned and, if asked to, its metrics.
async fn show(
    session: &Session,
    args: &RunArgs,
    ran: &Ran,
    format: Format,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    let shown = result::Shown { redacted: args.redact, metrics: args.show_metrics };
    let text = result::render(ran, shown, format)?;
    // A reader who went away changes nothing: the run was done.
    if let Some(exit) = print_or_end(text, signals).await? {
        return Ok(exit);
    }
    let text = match args.show_metrics && !session.quiet {
        true => result::metrics(&ran.provider, ran.took, Outcome::Success),
        false => String::new(),
    };
    Ok(complain_or_end(text, signals).await.unwrap_or(Exit::Done))
}

/// Says why a run returned nothing and, if asked to, prints its metrics.
async fn explain(
    session: &Session,
    args: &RunArgs,
    error: RunError,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    // What came to no call is no execution.
    let table = match &error {
        RunError::Execution(ExecuteError::Call(failed)) if args.show_metrics && !session.quiet => {
            Some(result::metrics(&failed.provider, failed.took, Outcome::Failure))
        }
        _ => None,
    };
    let failure = errors::run(match (error, args.timeout) {
        // The host knows what the inputs had left of it.
        (RunError::TimedOut { .. }, Some(limit)) => RunError::TimedOut { limit },
        (other, _) => other,
    });
    let Some(table) = table else { return Err(failure) };
    let exit = session.tell(failure, signals).await;
    Ok(complain_or_end(table, signals).await.unwrap_or(exit))
}
