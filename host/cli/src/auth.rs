//! `portcullis auth`: logging in and out, and what came of it.
//!
//! Options, keys and exit codes are those of upstream's `auth` (contract spec 10.6). A command starts the
//! plugins that it needs, asks, and ends them: what a handler does not keep among its secrets is forgotten
//! then. Only data goes to stdout; what a person has to see during a login goes to stderr.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use portcullis::Host;
use portcullis::host::handlers::RegisteredHandler;
use portcullis::host::services::Person;
use portcullis_contract::{Account, AuthCapability, AuthStatus, Call, CallError, Kind, visible_line};

use crate::exit::{Exit, Failure, OrExit as _};
use crate::output::complain;
use crate::prints::Printing;
use crate::setup::{Personal, PluginArgs, SecretsFile, wanted};
use crate::signals::Signals;
use crate::{Session, describe, errors, run, setup};

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
pub(crate) async fn main(session: &Session, command: AuthCommand) -> Result<Exit, Failure> {
    match command {
        AuthCommand::Login(args) => login::main(session, args).await,
        AuthCommand::Logout(args) => logout::main(session, args).await,
        AuthCommand::Status(args) => status::main(session, args).await,
        AuthCommand::Token(args) => token::main(session, args).await,
        AuthCommand::List(args) => list::main(session, args).await,
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

    /// File of secrets (a JSON object) that the auth handlers may have, and keep their logins in
    #[arg(long, value_name = "FILE")]
    secrets_file: Option<PathBuf>,
}

/// Which of a handler's logins is meant.
#[derive(Args, Debug)]
struct AccountArgs {
    /// Account, of several that the handler keeps
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    /// Server, of several (needs the capability instance_hostname)
    #[arg(long, value_name = "HOST")]
    hostname: Option<String>,
}

impl AccountArgs {
    fn account(&self, handler: &RegisteredHandler) -> Result<Account, Failure> {
        gate(handler, "--hostname", self.hostname.is_some(), &[AuthCapability::INSTANCE_HOSTNAME])?;
        Ok(Account { profile: self.profile.clone(), hostname: self.hostname.clone() })
    }
}

/// Makes a host, works with it and ends it, however the work ends.
async fn on_host(
    session: &Session,
    common: &Common,
    person: Option<Arc<dyn Person>>,
    work: impl AsyncFnOnce(&Host) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let secrets = common.secrets_file.clone();
    let secrets = secrets.map(|path| SecretsFile { path, granted_to: Kind::AuthHandler });
    let printing = (!session.quiet).then(Printing::start);
    let prints = printing.as_ref().map(Printing::prints);
    let personal = Personal { secrets, person, prints, ..Personal::default() };
    let host = setup::host(session, &common.plugins, &personal)?;
    let mut signals = Signals::new()?;
    let ended = tokio::select! {
        ended = work(&host) => ended,
        // Whatever goes on is abandoned, and its plugin is told.
        exit = signals.next() => Ok(exit),
    };
    run::stop(&host, printing.as_ref(), &mut signals).await;
    ended
}

/// Finds the handler that is meant.
async fn find(host: &Host, common: &Common, target: &str) -> Result<Arc<RegisteredHandler>, Failure> {
    let wanted = wanted(target, common.handler.as_deref());
    host.find_auth_handler(&wanted, common.plugins.describe()).await.map_err(errors::find)
}

/// Finds the handler that is meant, or all of them. What is left out is said.
async fn find_some(
    session: &Session,
    host: &Host,
    common: &Common,
    target: Option<&str>,
) -> Result<Vec<Arc<RegisteredHandler>>, Failure> {
    if let Some(target) = target {
        return Ok(vec![find(host, common, target).await?]);
    }
    let found = host.auth_handlers(common.plugins.describe()).await.map_err(errors::find)?;
    for error in &found.failed {
        note(session, &describe::error_chain(error));
    }
    if !found.left_out.is_empty() {
        let files: Vec<_> = found.left_out.iter().map(|path| path.display().to_string()).collect();
        let files = files.join(", ");
        note(session, &format!("not started to be asked, for want of --describe: {files}"));
    }
    if found.handlers.is_empty() {
        return Err(anyhow!("no auth handlers found").into());
    }
    Ok(found.handlers)
}

/// Tells a person something beside the data, in one line.
fn note(session: &Session, text: &str) {
    if !session.quiet {
        complain(format!("{}\n", visible_line(text)).as_bytes());
    }
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

/// Says what a call may take.
fn call(timeout: Option<Duration>) -> Call {
    let deadline = timeout.and_then(|timeout| std::time::Instant::now().checked_add(timeout));
    Call { deadline }
}

/// Returns how the command ends because of a call that failed.
///
/// A plugin that knows how long it has may say itself that it broke off, just as its time is over.
fn exit_of(call: &Call) -> Exit {
    let is_over = call.deadline.is_some_and(|deadline| deadline <= std::time::Instant::now());
    if is_over { Exit::TimedOut } else { Exit::Failed }
}

/// Says what failed because of what a call said.
fn failed(call: &Call, error: CallError, what: impl Into<String>) -> Failure {
    Failure { exit: exit_of(call), problem: anyhow::Error::new(error).context(what.into()) }
}

/// Says how a login stands with a handler.
async fn status_of(
    handler: &RegisteredHandler,
    call: &Call,
    account: &Account,
) -> Result<AuthStatus, Failure> {
    let status = handler.status(call, account).await;
    status.map_err(|error| failed(call, error, format!("failed to check the status of {}", handler.name())))
}
