//! `portcullis auth list`: the tokens that handlers keep, without the tokens themselves.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use portcullis::host::handlers::RegisteredHandler;
use portcullis_contract::quoted;

use super::rows::CachedRow;
use super::{Clock, Common, Found, failed, find_some, format, last_of, note, on_host, tell};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::output::print;
use crate::signals::Signals;
use crate::{Session, duration, moment};

/// Options of `auth list`.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Name of an auth handler, or path of a plugin's file (default: all that there are)
    #[arg(value_name = "HANDLER|FILE")]
    target: Option<OsString>,

    #[command(flatten)]
    common: Common,

    /// Show only those that have expired
    #[arg(long)]
    expired_only: bool,

    /// Show only those that have not
    #[arg(long)]
    valid_only: bool,

    /// Have handlers forget those that have expired, and say how many
    #[arg(long, conflicts_with_all = ["sort", "output"])]
    purge_expired: bool,

    /// What to sort by: handler, kind, scope, expires-at, cached-at
    #[arg(long, value_name = "FIELD", default_value = "", hide_default_value = true)]
    sort: String,

    /// Form of the output: auto, table, json, yaml, quiet (default: table)
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,

    /// How long a handler may take, with the start of its plugin, for instance 30s; several start within one such
    /// time, and then have one each
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum Sort {
    Handler,
    Kind,
    Scope,
    ExpiresAt,
    CachedAt,
}

impl ListArgs {
    /// Returns what to sort by, once it is known that what was asked for goes together.
    fn sort(&self) -> Result<Option<Sort>, Failure> {
        let problem = match (self.expired_only, self.valid_only, self.sort.to_lowercase().as_str()) {
            (true, true, _) => anyhow!("--expired-only and --valid-only are mutually exclusive"),
            (true, ..) | (_, true, _) if self.purge_expired => {
                anyhow!("--purge-expired cannot be combined with --expired-only or --valid-only")
            }
            (.., "") => return Ok(None),
            (.., "handler") => return Ok(Some(Sort::Handler)),
            (.., "kind") => return Ok(Some(Sort::Kind)),
            (.., "scope") => return Ok(Some(Sort::Scope)),
            (.., "expires-at" | "expiresat") => return Ok(Some(Sort::ExpiresAt)),
            (.., "cached-at" | "cachedat") => return Ok(Some(Sort::CachedAt)),
            _ => anyhow!(
                "unknown sort field {}: valid values are handler, kind, scope, expires-at, cached-at",
                quoted(&self.sort)
            ),
        };
        Err(problem).or_exit(Exit::InvalidInput)
    }
}

/// Runs the command.
pub(super) async fn main(session: &Session, args: ListArgs, signals: &mut Signals) -> Result<Exit, Failure> {
    let format = format(args.output.as_deref())?;
    let by = args.sort()?;
    let target = args.target.as_deref();
    on_host(session, &args.common, target, None, signals, async |host| {
        let Found { handlers, time, mut failures } =
            find_some(session, host, &args.common, target, args.timeout).await?;
        let (mut all, mut answered, mut purged) = (Vec::new(), 0, 0_u64);
        for handler in &handlers {
            let clock = time.clock();
            let asked = match args.purge_expired {
                true => purge(session, &args, handler, &clock).await.map(|count| purged += u64::from(count)),
                false => list(&args, handler, &clock).await.map(|rows| all.extend(rows)),
            };
            match asked {
                Ok(()) => answered += 1,
                Err(failure) => failures.push(failure),
            }
        }
        if args.purge_expired && handlers.len() > 1 {
            let total = match purged {
                0 => "No expired access tokens found in any handler.".to_owned(),
                _ => format!("Total: purged {purged} expired access token(s)."),
            };
            note(session, &total).await;
        }
        // One that cannot tell does not keep the others from being shown. One that did not forget what it was to
        // forget is what the command was about.
        if args.purge_expired || answered == 0 {
            last_of(failures).await?;
            return Ok(Exit::Done);
        }
        tell(&failures).await;
        let nothing = match all.as_slice() {
            [] => "No cached tokens found.",
            _ => "No cached tokens matched the filter.",
        };
        all.retain(|row| !(args.expired_only && !row.is_expired() || args.valid_only && row.is_expired()));
        sort(&mut all, by);
        if all.is_empty() {
            note(session, nothing).await;
        }
        print(format.show_rows(&all)?).await?;
        Ok(Exit::Done)
    })
    .await
}

async fn list(
    args: &ListArgs,
    handler: &RegisteredHandler,
    clock: &Clock,
) -> Result<Vec<CachedRow>, Failure> {
    let tokens = handler.list_cached_tokens(&clock.call, args.common.profile().as_deref()).await;
    let tokens = tokens.map_err(|error| {
        failed(handler, clock, error, format!("Failed to list tokens for {}", handler.name()))
    })?;
    let now = moment::now();
    Ok(tokens.into_iter().map(|token| CachedRow::new(&handler.info, token, now)).collect())
}

async fn purge(
    session: &Session,
    args: &ListArgs,
    handler: &RegisteredHandler,
    clock: &Clock,
) -> Result<u32, Failure> {
    let purged = handler.purge_expired_tokens(&clock.call, args.common.profile().as_deref()).await;
    let count = purged.map_err(|error| {
        failed(handler, clock, error, format!("Failed to purge expired tokens for {}", handler.name()))
    })?;
    let name = handler.name();
    let told = match count {
        0 => format!("No expired access tokens found in {name}."),
        _ => format!("Purged {count} expired access token(s) from {name}."),
    };
    note(session, &told).await;
    Ok(count)
}

/// Sorts rows; those that are equal in what was asked for stay as they came.
fn sort(rows: &mut [CachedRow], by: Option<Sort>) {
    match by {
        None => {}
        Some(Sort::Handler) => rows.sort_by(|a, b| a.handler.cmp(&b.handler)),
        Some(Sort::Kind) => rows.sort_by(|a, b| a.token_kind.cmp(&b.token_kind)),
        Some(Sort::Scope) => rows.sort_by(|a, b| a.scope.cmp(&b.scope)),
        Some(Sort::ExpiresAt) => rows.sort_by_key(CachedRow::expires),
        Some(Sort::CachedAt) => rows.sort_by_key(CachedRow::cached),
    }
}
