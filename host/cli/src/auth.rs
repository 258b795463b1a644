//! `portcullis auth`: logging in and out, and what came of it.
//!
//! Options, keys and exit codes are those of upstream's `auth` (contract spec 10.6). A command starts the
//! plugins that it needs, asks, and ends them: what a handler does not keep among its secrets is forgotten
//! then. Only data goes to stdout; what a person has to see during a login goes to stderr.

use std::error::Error;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use portcullis::Host;
use portcullis::host::handlers::RegisteredHandler;
use portcullis::host::services::Person;
use portcullis::host::{FindError, RunError};
use portcullis_contract::{
    Account, AuthCapability, AuthStatus, Call, CallError, Environment, Kind, Prints, visible_line,
};

use crate::exit::{self, Exit, Failure, OrExit as _};
use crate::output::{Format, complain_aside};
use crate::setup::{EnvArg, GrantedTo, Personal, PluginArgs, SecretsFile, wanted_of};
use crate::signals::Signals;
use crate::stderr::PluginPrints;
use crate::{Session, ending, errors, profile, setup};

mod list;
mod login;
mod logout;
mod rows;
mod status;
mod token;

#[derive(Debug, Subcommand)]
pub(crate) enum AuthCommand {
    /// Log in with an auth handler
    Login(login::LoginArgs),
    /// Forget logins
    Logout(logout::LogoutArgs),
    /// Show who is logged in
    Status(status::StatusArgs),
    /// Print an access token
    Token(token::TokenArgs),
    /// List the tokens that handlers keep, without the tokens themselves
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
}

/// Runs one of the commands.
pub(crate) async fn main(
    session: &Session,
    command: AuthCommand,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    match command {
        AuthCommand::Login(args) => login::main(session, args, signals).await,
        AuthCommand::Logout(args) => logout::main(session, args, signals).await,
        AuthCommand::Status(args) => status::main(session, args, signals).await,
        AuthCommand::Token(args) => token::main(session, args, signals).await,
        AuthCommand::List(args) => list::main(session, args, signals).await,
    }
}

/// Options of all of them.
#[derive(Args, Debug)]
struct Common {
    #[command(flatten)]
    plugins: PluginArgs,

    /// Auth handler that is meant when a file offers several
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,

    /// File of secrets (a JSON object), all of which the auth handlers may read and change; they keep their logins in it
    #[arg(long, value_name = "FILE")]
    secrets_file: Option<PathBuf>,

    /// Account, of several that a handler keeps
    #[arg(long, value_name = "NAME", value_parser = profile::parse)]
    profile: Option<String>,

    /// What a native plugin sees of the environment (default: what the policy says, else usual)
    #[arg(long, value_name = "WHAT")]
    env: Option<EnvArg>,
}

impl Common {
    fn profile(&self) -> Option<String> {
        profile::meant(self.profile.as_deref())
    }
}

/// Which of a handler's logins is meant.
#[derive(Args, Debug)]
struct AccountArgs {
    /// Server, of several (needs the capability instance_hostname)
    #[arg(long, value_name = "HOST")]
    hostname: Option<String>,
}

impl AccountArgs {
    fn account(&self, common: &Common, handler: &RegisteredHandler) -> Result<Account, Failure> {
        let hostname = said(self.hostname.clone());
        gate(handler, "--hostname", hostname.is_some(), &[AuthCapability::INSTANCE_HOSTNAME])?;
        Ok(Account { profile: common.profile(), hostname })
    }
}

/// Makes a host, works with the handler that was named or with all of them, and ends it, however the work ends.
async fn on_host(
    session: &Session,
    common: &Common,
    named: Option<&OsStr>,
    person: Option<Arc<dyn Person>>,
    signals: &mut Signals,
    work: impl AsyncFnOnce(&Host) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let granted_to = match named {
        Some(_) => GrantedTo::Named(Kind::AuthHandler),
        None => GrantedTo::AuthHandlers,
    };
    let secrets = common.secrets_file.clone().map(|path| SecretsFile { path, granted_to });
    let prints = (!session.quiet).then(|| Arc::new(PluginPrints) as Arc<dyn Prints>);
    let profile = common.profile();
    let environment = common.env.map(Environment::from);
    let personal = Personal { secrets, person, prints, profile, environment, stdin: None };
    let host = setup::host(session, &common.plugins, &personal)?;
    signals.listen()?;
    // A signal is no failure: it ends the command, too.
    let ended = ending::after(work(&host), &host, signals).await.unwrap_or_else(Ok);
    ending::printed(signals).await.map_or(ended, Ok)
}

/// Returns the value of an option. An empty one counts as none, as it does upstream.
fn said(value: Option<String>) -> Option<String> {
    value.filter(|value| !value.is_empty())
}

/// Reads the value of `-o`. A wrong one ends the command with the code of any other wrong argument here, as it does upstream.
fn format(text: Option<&str>) -> anyhow::Result<Format> {
    Format::parse(text, Format::Table).map_err(|Failure { problem, .. }| problem)
}

/// How much time a command has, from when it begins to look for its plugin: one deadline for all of it, as with
/// `run`.
#[derive(Clone, Debug)]
struct Clock {
    limit: Option<Duration>,
    call: Call,
}

impl Clock {
    fn start(limit: Option<Duration>) -> Self {
        let deadline = limit.and_then(|limit| std::time::Instant::now().checked_add(limit));
        Self { limit, call: Call { deadline } }
    }

    /// Waits for work that has no deadline of its own: finding and starting plugins. Work that is late is dropped; its
    /// plugin ends with the host.
    async fn hold<T>(&self, work: impl Future<Output = Result<T, FindError>>) -> Result<T, Failure> {
        let Some((limit, deadline)) = self.limit.zip(self.call.deadline) else {
            return work.await.map_err(errors::find);
        };
        match tokio::time::timeout_at(deadline.into(), work).await {
            Ok(found) => found.map_err(errors::find),
            Err(_elapsed) => Err(errors::run(RunError::TimedOut { limit })),
        }
    }

    /// Has a timeout name the limit of the whole command. A call knows only the time that was left for it.
    fn whole(&self, problem: anyhow::Error) -> anyhow::Error {
        let is_late = |cause: &(dyn Error + 'static)| {
            matches!(cause.downcast_ref::<CallError>(), Some(CallError::TimedOut { .. }))
        };
        let Some(limit) = self.limit.filter(|_| is_late(problem.root_cause())) else { return problem };
        let causes = problem.chain().map(|cause| match is_late(cause) {
            true => CallError::TimedOut { limit }.to_string(),
            false => cause.to_string(),
        });
        anyhow!(causes.collect::<Vec<_>>().join(": "))
    }
}

/// Finds the handler that is meant.
async fn find(
    host: &Host,
    common: &Common,
    target: &OsStr,
    clock: &Clock,
) -> Result<Arc<RegisteredHandler>, Failure> {
    let wanted = wanted_of(target, "--handler", common.handler.as_deref())?;
    clock.hold(host.find_auth_handler(&wanted, common.plugins.describe())).await
}

/// The handlers that are meant.
#[derive(Debug)]
struct Found {
    handlers: Vec<Arc<RegisteredHandler>>,
    /// What each of them may take.
    time: Time,
    /// Why others do not run.
    failures: Vec<Failure>,
}

/// How much time a handler has.
#[derive(Debug)]
enum Time {
    /// The rest of the command's: one handler was named.
    Left(Clock),
    /// So much for each: several are asked one after the other, and one that is late must not cost the next its time.
    Each(Option<Duration>),
}

impl Time {
    /// Returns the clock for the calls to the next handler.
    fn clock(&self) -> Clock {
        match self {
            Self::Left(clock) => clock.clone(),
            Self::Each(limit) => Clock::start(*limit),
        }
    }
}

/// Finds the handler that is meant, or all of them, and notes which files were left out.
async fn find_some(
    session: &Session,
    host: &Host,
    common: &Common,
    target: Option<&OsStr>,
    timeout: Option<Duration>,
) -> Result<Found, Failure> {
    let clock = Clock::start(timeout);
    if let Some(target) = target {
        let handlers = vec![find(host, common, target, &clock).await?];
        return Ok(Found { handlers, time: Time::Left(clock), failures: Vec::new() });
    }
    if common.handler.is_some() {
        return Err(anyhow!("--handler chooses among what a file offers, and no file is given").into());
    }
    let found = clock.hold(host.auth_handlers(common.plugins.describe())).await?;
    let limited = |error: FindError| Failure::from(errors::limited(error.into(), None));
    let failures: Vec<_> = found.failed.into_iter().map(limited).collect();
    if found.handlers.is_empty() {
        tell(&failures).await;
        let nothing = common.plugins.nothing_found(session, "auth handlers");
        return Err(anyhow!(nothing + &errors::left_out_text("; ", &found.left_out)).into());
    }
    if !found.left_out.is_empty() {
        note(session, &errors::left_out_text("", &found.left_out)).await;
    }
    Ok(Found { handlers: found.handlers, time: Time::Each(timeout), failures })
}

/// Tells a person something beside the data, in one line.
async fn note(session: &Session, text: &str) {
    if !session.quiet {
        complain_aside(visible_line(text) + "\n").await;
    }
}

/// Prints failures, each in one line, even under `--quiet`.
async fn tell(failures: &[Failure]) {
    let lines = failures.iter().map(|Failure { problem, .. }| visible_line(&exit::told(problem)) + "\n");
    complain_aside(lines.collect::<String>()).await;
}

/// Prints all failures but the last, and returns that: the command ends with it.
async fn last_of(mut failures: Vec<Failure>) -> Result<(), Failure> {
    let Some(last) = failures.pop() else { return Ok(()) };
    tell(&failures).await;
    Err(last)
}

/// Returns the scopes that were given, without empty ones, which scripts may pass.
fn given(scopes: &[String]) -> Vec<String> {
    scopes.iter().filter(|scope| !scope.is_empty()).cloned().collect()
}

/// Refuses an option that the handler does not heed.
fn gate(
    handler: &RegisteredHandler,
    option: &str,
    is_given: bool,
    needs: &[AuthCapability],
) -> Result<(), Failure> {
    if !is_given || needs.iter().any(|capability| handler.has(capability)) {
        return Ok(());
    }
    Err(anyhow!("{option} is not supported by the {:?} auth handler", handler.name().as_str()))
        .or_exit(Exit::InvalidInput)
}

/// Makes a failure of a call's error.
///
/// A plugin knows its deadline and may report an error of its own just as it passes; that counts as a timeout.
fn failed(
    handler: &RegisteredHandler,
    clock: &Clock,
    error: impl Into<anyhow::Error>,
    what: impl Into<String>,
) -> Failure {
    let is_over = clock.call.deadline.is_some_and(|deadline| deadline <= std::time::Instant::now());
    let exit = if is_over { Exit::TimedOut } else { Exit::Failed };
    let problem = clock.whole(error.into()).context(what.into());
    Failure { exit, problem: errors::limited(problem, Some(handler.plugin.info())) }
}

/// Says how a login stands with a handler; otherwise, what failed.
async fn status_of(
    handler: &RegisteredHandler,
    clock: &Clock,
    account: &Account,
    failure: impl Into<String>,
) -> Result<AuthStatus, Failure> {
    let status = handler.status(&clock.call, account).await;
    status.map_err(|error| failed(handler, clock, error, failure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_that_says_nothing_is_none() {
        let check = |scopes: &[&str], expected: &[&str]| {
            let scopes: Vec<_> = scopes.iter().map(|&scope| scope.to_owned()).collect();
            assert_eq!(given(&scopes), expected, "{scopes:?}");
        };
        check(&["b", "", "a"], &["b", "a"]);
        check(&[""], &[]);
    }

    #[test]
    fn a_late_answer_is_measured_by_what_was_given_for_everything() {
        let clock = Clock::start(Some(Duration::from_secs(2)));
        let late = || CallError::TimedOut { limit: Duration::from_millis(1957) };
        let said = |error: anyhow::Error| exit::chain(&clock.whole(error).context("no login"));
        assert_eq!(said(late().into()), "no login: no answer within 2s");
        let broken = anyhow::Error::new(late()).context("login stream error");
        assert_eq!(said(broken), "no login: login stream error: no answer within 2s");
        assert_eq!(said(CallError::Gone.into()), format!("no login: {}", CallError::Gone));
    }
}
