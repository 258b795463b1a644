//! `portcullis auth status`: who is logged in, handler by handler.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use portcullis::host::handlers::RegisteredHandler;

use super::rows::StatusRow;
use super::{AccountArgs, Clock, Common, Found, find_some, format, last_of, on_host, status_of, tell};
use crate::exit::{Exit, Failure};
use crate::output::print;
use crate::signals::Signals;
use crate::{Session, duration, moment};

/// Options of `auth status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Name of an auth handler, or path of a plugin's file (default: all that there are)
    #[arg(value_name = "HANDLER|FILE")]
    target: Option<OsString>,

    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    account: AccountArgs,

    /// End with 1 if any of them has nobody logged in, or cannot tell
    #[arg(long)]
    exit_code: bool,

    /// End with 1 if a login ends within that time, for instance 10m, or if one of them cannot tell; 0 is as good as none
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_or_zero)]
    warn_within: Option<Duration>,

    /// Form of the output: auto, table, json, yaml, quiet (default: table)
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,

    /// How long a handler may take, with the start of its plugin, for instance 30s; several start within one such
    /// time, and then have one each
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,
}

impl StatusArgs {
    fn warning(&self) -> Option<Duration> {
        self.warn_within.filter(|within| !within.is_zero())
    }
}

/// Runs the command.
pub(super) async fn main(
    session: &Session,
    args: StatusArgs,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    let format = format(args.output.as_deref())?;
    let target = args.target.as_deref();
    on_host(session, &args.common, target, None, signals, async |host| {
        let Found { handlers, time, mut failures } =
            find_some(session, host, &args.common, target, args.timeout).await?;
        let mut all = Vec::new();
        for handler in &handlers {
            match row(&args, handler, &time.clock()).await {
                Ok(row) => all.push(row),
                Err(failure) => failures.push(failure),
            }
        }
        if all.is_empty() {
            last_of(failures).await?;
            return Ok(Exit::Done);
        }
        // One that cannot tell does not keep the others from being shown.
        print(format.show_rows(&all)?).await?;
        if args.exit_code || args.warning().is_some() {
            // A script that asks whether all is well is not told so by silence.
            last_of(failures).await?;
        } else {
            tell(&failures).await;
        }
        judge(&args, &all)
    })
    .await
}

async fn row(args: &StatusArgs, handler: &RegisteredHandler, clock: &Clock) -> Result<StatusRow, Failure> {
    let account = args.account.account(&args.common, handler)?;
    let failure = format!("Failed to check {} status", handler.name());
    let status = status_of(handler, clock, &account, failure).await?;
    // How many it keeps is an extra; without it the row is still true.
    let tokens = handler.list_cached_tokens(&clock.call, account.profile.as_deref()).await;
    Ok(StatusRow::new(&handler.info, status, tokens.map_or(0, |tokens| tokens.len()), moment::now()))
}

/// Says with the exit code what a script wants to know.
fn judge(args: &StatusArgs, all: &[StatusRow]) -> Result<Exit, Failure> {
    if args.exit_code && all.iter().any(|row| !row.is_authenticated()) {
        return Err(anyhow!("one or more auth handlers are not authenticated").into());
    }
    if let Some(within) = args.warning() {
        let seconds = i64::try_from(within.as_secs()).unwrap_or(i64::MAX);
        let end = moment::now().saturating_add(seconds);
        if all.iter().any(|row| row.ends_before(end)) {
            return Err(anyhow!("one or more tokens expire within {}", duration::to_text(within)).into());
        }
    }
    Ok(Exit::Done)
}
