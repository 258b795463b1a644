//! `portcullis auth logout`: handlers forget who was logged in.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use portcullis::host::handlers::RegisteredHandler;
use portcullis_contract::{Account, CallError, visible_line};

use super::{AccountArgs, Clock, Common, Found, failed, find_some, last_of, note, on_host, status_of, tell};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::signals::Signals;
use crate::{Session, duration, terminal};

/// Options of `auth logout`.
#[derive(Args, Debug)]
pub(crate) struct LogoutArgs {
    /// Name of an auth handler, or path of a plugin's file (with a slash in it)
    #[arg(value_name = "HANDLER|FILE", required_unless_present = "all", conflicts_with = "all")]
    target: Option<OsString>,

    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    account: AccountArgs,

    /// Log out of every auth handler
    #[arg(long)]
    all: bool,

    /// Do so even if nobody is logged in
    #[arg(short, long)]
    force: bool,

    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not ask whether --all is meant
    #[arg(short, long)]
    yes: bool,

    /// How long a handler may take, with the start of its plugin, for instance 30s; several start within one such
    /// time, and then have one each
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,
}

/// Runs the command.
pub(super) async fn main(
    session: &Session,
    args: LogoutArgs,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    let target = args.target.as_deref();
    on_host(session, &args.common, target, None, signals, async |host| {
        let Found { handlers, time, mut failures } =
            find_some(session, host, &args.common, target, args.timeout).await?;
        if args.all && !(args.yes || args.force || args.dry_run) {
            let names: Vec<_> = handlers.iter().map(|handler| handler.name().as_str()).collect();
            if !is_meant(session, &names).await? {
                tell(&failures).await;
                note(session, "Logout cancelled.").await;
                return Ok(Exit::Done);
            }
        }
        for handler in &handlers {
            let clock = time.clock();
            let name = handler.display_name();
            let out = async {
                let account = args.account.account(&args.common, handler)?;
                let failure = format!("Failed to check auth status for {}", handler.name());
                let is_in = args.force || status_of(handler, &clock, &account, failure).await?.authenticated;
                if !is_in && !keeps_tokens(handler, &clock, &account).await? {
                    note(session, &format!("Not currently authenticated with {name}.")).await;
                    return Ok(());
                }
                if args.dry_run {
                    let what = "cached tokens and refresh token would be removed";
                    note(session, &format!("[dry-run] Would log out from {name} ({what}).")).await;
                    return Ok(());
                }
                let out = handler.logout(&clock.call, &account).await;
                out.map_err(|error| {
                    failed(handler, &clock, error, format!("Logout failed for {}", handler.name()))
                })?;
                note(session, &format!("Successfully logged out from {name}.")).await;
                Ok::<_, Failure>(())
            };
            if let Err(failure) = out.await {
                failures.push(failure);
            }
        }
        last_of(failures).await?;
        Ok(Exit::Done)
    })
    .await
}

/// Tells whether a handler keeps tokens, of whichever login: its status may be about one of several servers, whose names
/// only the plugin knows, or about a login that has expired. One that refuses to list them counts as having none.
async fn keeps_tokens(
    handler: &RegisteredHandler,
    clock: &Clock,
    account: &Account,
) -> Result<bool, Failure> {
    match handler.list_cached_tokens(&clock.call, account.profile.as_deref()).await {
        Ok(tokens) => Ok(!tokens.is_empty()),
        Err(CallError::Refused(_) | CallError::Unimplemented) => Ok(false),
        Err(error) => {
            let failure = format!("Failed to list the tokens of {}", handler.name());
            Err(failed(handler, clock, error, failure))
        }
    }
}

/// Asks whether all handlers are meant.
async fn is_meant(session: &Session, names: &[&str]) -> Result<bool, Failure> {
    let environment = &session.environment;
    if !(environment.stdin_is_terminal && environment.stderr_is_terminal) {
        return Err(anyhow!("--all logs out of {}; add --yes to mean it", names.join(", ")))
            .or_exit(Exit::InvalidInput);
    }
    let (count, names) = (names.len(), visible_line(&names.join(" ")));
    let question = format!("Log out from all {count} handler(s) [{names}]? [y/N] ");
    let answer = terminal::ask(&question, &mut None).await?;
    Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
}
