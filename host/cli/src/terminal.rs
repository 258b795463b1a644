//! What a person at the terminal is asked, and what they answer.
//!
//! Questions go to stderr, answers come from stdin. A read that nobody waits for any more goes on until
//! the process ends; there is no way to take it back.

use std::io::{self, BufRead as _, Read as _};

use async_trait::async_trait;
use portcullis::host::services::Person;
use portcullis_contract::{PluginName, PromptError, ResponseRequest, visible, visible_line};
use tokio::sync::Mutex;

use crate::output::complain_aside;
use crate::stderr;

/// The longest answer, in bytes. A guess: addresses that servers send browsers to are shorter than 8 KiB.
const LONGEST: u64 = 64 << 10;

/// Whoever sits at the terminal. They are asked one thing at a time.
#[derive(Debug, Default)]
pub(crate) struct AtTerminal {
    asking: Mutex<()>,
}

#[async_trait]
impl Person for AtTerminal {
    async fn auth_response(
        &self,
        plugin: &PluginName,
        request: &ResponseRequest,
    ) -> Result<String, PromptError> {
        let _one_at_a_time = self.asking.lock().await;
        match ask(&question(plugin, request)).await {
            Ok(answer) if !answer.is_empty() => Ok(answer),
            Ok(_) => Err(PromptError::Cancelled("nothing was entered".to_owned())),
            Err(error) => Err(PromptError::Unavailable(format!("stdin cannot be read: {error}"))),
        }
    }
}

/// Everything in it is the plugin's, so it says whose it is, and nothing of it begins a line.
fn question(plugin: &PluginName, request: &ResponseRequest) -> String {
    let ResponseRequest { handler, authorization_url, redirect_uri } = request;
    let [plugin, handler, authorization_url, redirect_uri] =
        [plugin.as_str(), handler, authorization_url, redirect_uri].map(visible_line);
    let ends = match redirect_uri.as_str() {
        "" => String::new(),
        uri => format!(" (it begins with {uri})"),
    };
    format!(
        "Plugin {plugin} asks, to log in with {handler}: open {authorization_url}\n\
         and enter the address at which the browser ends up{ends}:\n"
    )
}

/// Shows something on stderr. What plugins say in it is nothing but text.
pub(crate) async fn show(text: &str) {
    complain_aside(visible(text)).await;
}

/// Asks something on stderr, and returns the line that is typed behind it, without the spaces around it. At the end of the
/// input that is an empty one.
pub(crate) async fn ask(question: &str) -> io::Result<String> {
    show(question).await;
    let line = read_line().await;
    let has_end = line.as_ref().is_ok_and(|line| line.ends_with('\n'));
    // What is said next comes after it, whether that is waited for or not.
    let _written = if has_end { stderr::shared().answered() } else { stderr::shared().end_line() };
    Ok(line?.trim().to_owned())
}

async fn read_line() -> io::Result<String> {
    let read = || {
        let mut line = String::new();
        io::stdin().lock().take(LONGEST).read_line(&mut line)?;
        Ok(line)
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_told_who_asks_and_what_for() {
        let mut request = ResponseRequest {
            handler: "door".to_owned(),
            authorization_url: "https://door.example/authorize".to_owned(),
            redirect_uri: "http://127.0.0.1:8400/".to_owned(),
        };
        let plugin = PluginName::new("doorman");
        let expected = "Plugin doorman asks, to log in with door: open https://door.example/authorize\n\
                        and enter the address at which the browser ends up (it begins with http://127.0.0.1:8400/):\n";
        assert_eq!(question(&plugin, &request), expected);
        request.handler = "door\nPlugin other asks".to_owned();
        assert!(question(&plugin, &request).contains("to log in with door\\nPlugin other asks: open"));
        request.redirect_uri.clear();
        assert!(question(&plugin, &request).ends_with("ends up:\n"));
    }
}
