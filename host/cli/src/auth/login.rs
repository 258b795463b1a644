//! `portcullis auth login`: a person logs in, and sees on stderr what they have to.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use async_trait::async_trait;
use clap::Args;
use portcullis::host::auth::{Prompts, display_identity};
use portcullis::host::flow;
use portcullis::host::handlers::RegisteredHandler;
use portcullis::host::services::Person;
use portcullis_contract::{
    Account, AuthCapability, AuthStatus, Claims, DeviceCodePrompt, Flow, LoginRequest, LoginResult,
    visible_line,
};

use super::{Clock, Common, failed, find, gate, given, note, on_host, said, status_of};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::signals::Signals;
use crate::terminal::{self, AtTerminal};
use crate::{Session, duration, moment};

/// Options of `auth login`.
#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    /// Name of an auth handler, or path of a plugin's file (with a slash in it)
    #[arg(value_name = "HANDLER|FILE")]
    target: OsString,

    #[command(flatten)]
    common: Common,

    /// Way of logging in, for instance device-code (default: the handler's choice)
    #[arg(long, value_name = "FLOW", default_value = "", hide_default_value = true)]
    flow: String,

    /// Tenant (needs the capability tenant_id)
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    tenant: String,

    /// Scope; may be given several times (needs the capability scopes_on_login)
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<String>,

    /// Server, of several (needs the capability hostname or instance_hostname)
    #[arg(long, value_name = "HOST")]
    hostname: Option<String>,

    /// Port on this machine that a browser comes back to (needs the capability callback_port)
    #[arg(long, value_name = "PORT")]
    callback_port: Option<u16>,

    /// How long the login may take, with the start of its plugin; 0 for as long as it does
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_or_zero, default_value = "5m")]
    timeout: Duration,

    /// Log out first, whatever --skip-if-authenticated says
    #[arg(short, long)]
    force: bool,

    /// Do nothing if somebody is logged in already
    #[arg(long)]
    skip_if_authenticated: bool,
}

impl LoginArgs {
    fn limit(&self) -> Option<Duration> {
        Some(self.timeout).filter(|timeout| !timeout.is_zero())
    }
}

/// Runs the command.
pub(super) async fn main(session: &Session, args: LoginArgs, signals: &mut Signals) -> Result<Exit, Failure> {
    let environment = &session.environment;
    let is_there = environment.stdin_is_terminal && environment.stderr_is_terminal;
    let person = is_there.then(|| Arc::new(AtTerminal::default()) as Arc<dyn Person>);
    on_host(session, &args.common, Some(&args.target), person, signals, async |host| {
        let clock = Clock::start(args.limit());
        let handler = find(host, &args.common, &args.target, &clock).await?;
        let request = request(&args, &handler)?;
        if is_done_already(session, &args, &handler, &clock, &request).await? {
            return Ok(Exit::Done);
        }
        let login = handler.login(&clock.call, request, Some(&mut OnStderr)).await;
        let result = login.map_err(|error| failed(&handler, &clock, error, "authentication failed"))?;
        note(session, &summary(&handler, &result)).await;
        Ok(Exit::Done)
    })
    .await
}

fn request(args: &LoginArgs, handler: &RegisteredHandler) -> Result<LoginRequest, Failure> {
    gate(handler, "--tenant", !args.tenant.is_empty(), &[AuthCapability::TENANT_ID])?;
    let hostname = said(args.hostname.clone());
    let for_hostname = [AuthCapability::HOSTNAME, AuthCapability::INSTANCE_HOSTNAME];
    gate(handler, "--hostname", hostname.is_some(), &for_hostname)?;
    let scopes = given(&args.scopes);
    if !scopes.is_empty() && !handler.has(&AuthCapability::SCOPES_ON_LOGIN) {
        let name = handler.name().as_str();
        return Err(anyhow!("--scope is not supported at login time by the {name:?} auth handler"))
            .or_exit(Exit::InvalidInput);
    }
    // Any port will do.
    let callback_port = args.callback_port.filter(|&port| port != 0);
    gate(handler, "--callback-port", callback_port.is_some(), &[AuthCapability::CALLBACK_PORT])?;
    if callback_port.is_some_and(|port| port < 1024) {
        return Err(anyhow!("--callback-port is a number from 1024 to 65535, or 0 for any of them"))
            .or_exit(Exit::InvalidInput);
    }
    Ok(LoginRequest {
        tenant_id: args.tenant.clone(),
        scopes,
        flow: flow::parse(&args.flow, &handler.info)
            .map_err(anyhow::Error::msg)
            .or_exit(Exit::InvalidInput)?,
        timeout: args.limit(),
        profile: args.common.profile(),
        hostname,
        callback_port: callback_port.map(i32::from),
    })
}

/// Looks who is logged in, and returns whether that is enough.
async fn is_done_already(
    session: &Session,
    args: &LoginArgs,
    handler: &RegisteredHandler,
    clock: &Clock,
    request: &LoginRequest,
) -> Result<bool, Failure> {
    let hostname = request.hostname.clone().filter(|_| handler.has(&AuthCapability::INSTANCE_HOSTNAME));
    let account = Account { profile: request.profile.clone(), hostname };
    if args.force {
        let out = handler.logout(&clock.call, &account).await;
        out.map_err(|error| failed(handler, clock, error, "logout failed"))?;
        return Ok(false);
    }
    // A program that logs itself in asks nobody, and does it as often as it likes.
    if request.flow == Some(Flow::CLIENT_CREDENTIALS) && !args.skip_if_authenticated {
        return Ok(false);
    }
    let status = status_of(handler, clock, &account, "failed to check auth status").await?;
    if !status.authenticated {
        return Ok(false);
    }
    let who = format!("Already authenticated as {}", who(&status));
    if args.skip_if_authenticated {
        note(session, &format!("{who} — skipping login.")).await;
        return Ok(true);
    }
    note(session, &format!("{who}.")).await;
    let logout = format!("portcullis auth logout {}", handler.name());
    note(session, &format!("Use '{logout}' to sign out first, or use --force to re-authenticate.")).await;
    Ok(false)
}

fn who(status: &AuthStatus) -> &str {
    status.claims.as_ref().and_then(display_identity).unwrap_or("somebody")
}

/// Says who has logged in. A result without claims says only that somebody did (contract item 138).
fn summary(handler: &RegisteredHandler, result: &LoginResult) -> String {
    let mut text = format!("logged in with {}", handler.display_name());
    if let Some(claims) = &result.claims {
        let Claims { name, tenant_id, .. } = claims;
        if let Some(identity) = display_identity(claims) {
            text += &format!(" as {identity}");
            if !name.is_empty() && name != identity {
                text += &format!(" ({name})");
            }
        }
        if !tenant_id.is_empty() {
            text += &format!(", tenant {tenant_id}");
        }
    }
    if let Some(expires_at) = result.expires_at {
        text += &format!(", until {}", moment::to_text(expires_at));
    }
    text
}

/// Shows codes to whoever looks at stderr.
#[derive(Debug)]
struct OnStderr;

#[async_trait]
impl Prompts for OnStderr {
    async fn show(&mut self, prompt: DeviceCodePrompt) {
        terminal::show(&text(&prompt)).await;
    }
}

/// The message may have several lines, none of which begins where ours do; what stands in one of ours has none of its own.
fn text(prompt: &DeviceCodePrompt) -> String {
    let DeviceCodePrompt { user_code, verification_uri, message } = prompt;
    let [user_code, verification_uri] = [user_code, verification_uri].map(|text| visible_line(text));
    let message: String = message.lines().map(|line| format!("  {line}\n")).collect();
    match (user_code.as_str(), verification_uri.as_str()) {
        ("", "") => format!("To log in:\n{message}"),
        ("", uri) => format!("To log in, open {uri}\n{message}"),
        (code, "") => format!("To log in, enter the code {code}\n{message}"),
        // Most messages say the same once more, in a sentence.
        (code, uri) => {
            let message = if message.contains(code) || message.contains(uri) { "" } else { &message };
            format!("To log in, open {uri}\nand enter the code {code}\n{message}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_says_where_the_code_belongs() {
        let prompt = |code: &str, uri: &str, message: &str| {
            let [user_code, verification_uri, message] = [code, uri, message].map(str::to_owned);
            text(&DeviceCodePrompt { user_code, verification_uri, message })
        };
        let page = "https://door.example";
        let shown = prompt("ABCD", page, "words");
        assert_eq!(shown, "To log in, open https://door.example\nand enter the code ABCD\n  words\n");
        let shown = prompt("ABCD", page, "open https://door.example and enter ABCD");
        assert_eq!(shown, "To log in, open https://door.example\nand enter the code ABCD\n");
        assert_eq!(prompt("", "", "words\nlogged in"), "To log in:\n  words\n  logged in\n");
        assert_eq!(prompt("", "u", "words"), "To log in, open u\n  words\n");
        let forged = prompt("A\nlogged in", "u\u{1b}[2J", "");
        assert_eq!(forged, "To log in, open u\\u{1b}[2J\nand enter the code A\\nlogged in\n");
    }
}
