//! `portcullis auth token`: one access token, for a person or a program that needs it.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use portcullis::host::handlers::RegisteredHandler;
use portcullis_contract::{AccessRequest, AuthCapability, visible_line};

use super::rows::TokenRow;
use super::{Clock, Common, failed, find, format, gate, given, on_host, said};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::output::print;
use crate::signals::Signals;
use crate::{Session, duration, moment};

/// Options of `auth token`.
#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    /// Name of an auth handler, or path of a plugin's file (with a slash in it)
    #[arg(value_name = "HANDLER|FILE")]
    target: OsString,

    #[command(flatten)]
    common: Common,

    /// What the token is for; may be given several times (required with the capability scopes_on_token_request, refused
    /// without it)
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<String>,

    /// How long it has to stay valid
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_or_zero, default_value = "60s")]
    min_valid_for: Duration,

    /// Do not take one that is kept
    #[arg(short, long, visible_alias = "force")]
    force_refresh: bool,

    /// Print the token and nothing else, whatever the form of the output
    #[arg(long)]
    raw: bool,

    /// Server, of several (needs the capability token_hostname)
    #[arg(long, value_name = "HOST")]
    hostname: Option<String>,

    /// Form of the output: auto, table, json, yaml, quiet (default: table)
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,

    /// How long the handler may take, with the start of its plugin, for instance 30s
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,
}

/// Runs the command.
pub(super) async fn main(session: &Session, args: TokenArgs, signals: &mut Signals) -> Result<Exit, Failure> {
    let format = format(args.output.as_deref())?;
    on_host(session, &args.common, Some(&args.target), None, signals, async |host| {
        let clock = Clock::start(args.timeout);
        let handler = find(host, &args.common, &args.target, &clock).await?;
        let request = request(&args, &handler)?;
        let token = handler
            .token(&clock.call, request)
            .await
            .map_err(|error| failed(&handler, &clock, error, "failed to get token"))?;
        let text = if args.raw {
            raw(token.access_token, session.environment.stdout_is_terminal)
        } else {
            format.show(&TokenRow::new(&handler.info, &token, moment::now()))?
        };
        print(text).await?;
        Ok(Exit::Done)
    })
    .await
}

/// Returns a token alone on its line. A program gets every byte of it; a terminal would obey some.
fn raw(token: String, is_terminal: bool) -> String {
    let mut line = if is_terminal { visible_line(&token) } else { token };
    line.push('\n');
    line
}

fn request(args: &TokenArgs, handler: &RegisteredHandler) -> Result<AccessRequest, Failure> {
    let name = handler.name().as_str();
    let wants_scope = handler.has(&AuthCapability::SCOPES_ON_TOKEN_REQUEST);
    let mut scopes = given(&args.scopes);
    let problem = match (scopes.is_empty(), wants_scope) {
        (true, true) => Some(anyhow!("--scope is required for the {name:?} auth handler")),
        (false, false) => {
            let scope = if handler.has(&AuthCapability::SCOPES_ON_LOGIN) { " --scope <scope>" } else { "" };
            Some(anyhow!(
                "the {name:?} auth handler does not support per-request scopes; scopes are fixed at login time. Use \
                 'portcullis auth login {}{scope}' to change scopes",
                visible_line(name)
            ))
        }
        _ => None,
    };
    if let Some(problem) = problem {
        return Err(problem).or_exit(Exit::InvalidInput);
    }
    let hostname = said(args.hostname.clone());
    gate(handler, "--hostname", hostname.is_some(), &[AuthCapability::TOKEN_HOSTNAME])?;
    // Handlers keep tokens by this text; the order in which somebody typed is no difference.
    scopes.sort();
    Ok(AccessRequest {
        scope: scopes.join(" "),
        min_valid_for: args.min_valid_for,
        force_refresh: args.force_refresh,
        profile: args.common.profile(),
        hostname,
        ..AccessRequest::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_drives_a_terminal() {
        let clearing = "tok\u{1b}[2J";
        assert_eq!(raw(clearing.to_owned(), false), "tok\u{1b}[2J\n");
        assert_eq!(raw(clearing.to_owned(), true), "tok\\u{1b}[2J\n");
    }
}
