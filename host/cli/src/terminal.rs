//! What a person at the terminal is asked, and what they answer.
//!
//! Questions go to stderr, answers come from stdin. A read cannot be taken back: it goes on when nobody waits for it
//! any more, and what is typed then is for whoever has asked next.

use std::io::{self, BufRead, Read as _};

use async_trait::async_trait;
use portcullis::host::services::Person;
use portcullis_contract::{PluginName, PromptError, ResponseRequest, visible, visible_line};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};
use url::{Position, Url};

use crate::output::complain_aside;
use crate::stderr;

/// The longest answer, in bytes. A guess: addresses that servers send browsers to are shorter than 8 KiB.
const LONGEST: u64 = 64 << 10;

/// Whoever sits at the terminal. They are asked one thing at a time.
#[derive(Debug, Default)]
pub(crate) struct AtTerminal {
    reading: Mutex<Reading>,
}

/// The line that is being read, if one is.
pub(crate) type Reading = Option<JoinHandle<io::Result<String>>>;

#[async_trait]
impl Person for AtTerminal {
    async fn auth_response(
        &self,
        plugin: &PluginName,
        request: &ResponseRequest,
    ) -> Result<String, PromptError> {
        let mut reading = self.reading.lock().await;
        let mut question = question(plugin, request);
        loop {
            let answer = ask(&question, &mut reading).await;
            let answer =
                answer.map_err(|error| PromptError::Unavailable(format!("stdin cannot be read: {error}")))?;
            if answer.is_empty() {
                return Err(PromptError::Cancelled("nothing was entered".to_owned()));
            }
            if leads_back(&answer, &request.redirect_uri) {
                return Ok(answer);
            }
            let begins = visible_line(&request.redirect_uri);
            question = format!("That is another one. Enter the address that begins with {begins}:\n");
        }
    }
}

/// Returns whether an address is one for a browser. Plugins rely on their host to check that.
fn leads_back(answer: &str, redirect_uri: &str) -> bool {
    // What is a mere name says nothing of an address.
    let back = Url::parse(redirect_uri).ok().filter(|back| !back.cannot_be_a_base());
    let Some(back) = back else { return true };
    let Ok(answer) = Url::parse(answer) else { return false };
    let server = [back.scheme(), &back[Position::BeforeHost..Position::AfterPort]];
    if server != [answer.scheme(), &answer[Position::BeforeHost..Position::AfterPort]] {
        return false;
    }
    let goes_on = |text: &str, beginning: &str, with: char| {
        text.strip_prefix(beginning).is_some_and(|rest| rest.is_empty() || rest.starts_with(with))
    };
    match back.query().filter(|query| !query.is_empty()) {
        // It is added to.
        Some(query) => {
            answer.path() == back.path() && goes_on(answer.query().unwrap_or_default(), query, '&')
        }
        None => goes_on(answer.path(), back.path().trim_end_matches('/'), '/'),
    }
}

/// Everything in it comes from the plugin, so it names the plugin, and nothing of it begins a line.
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

/// Asks something on stderr, and returns the line that is typed in answer, trimmed. It is empty at the end of the
/// input.
pub(crate) async fn ask(question: &str, reading: &mut Reading) -> io::Result<String> {
    // What was typed while nobody asked is no answer.
    reading.take_if(|line| line.is_finished());
    show(question).await;
    let line = next_line(reading, || line_of(io::stdin().lock())).await;
    let has_end = line.as_ref().is_ok_and(|line| line.ends_with('\n'));
    // Not waited for: whatever is written next is queued behind it.
    let _written = if has_end { stderr::shared().answered() } else { stderr::shared().end_line() };
    Ok(line?.trim().to_owned())
}

/// Returns the next line: that of the read under way, if there is one.
async fn next_line(
    reading: &mut Reading,
    read: impl FnOnce() -> io::Result<String> + Send + 'static,
) -> io::Result<String> {
    let line = reading.get_or_insert_with(|| spawn_blocking(read)).await;
    *reading = None;
    line.map_err(io::Error::other)?
}

/// Reads a line. One that is too long is refused and not cut, because a cut address is a different one, and is skipped
/// to its end, so that its rest does not answer the next question.
fn line_of(mut reader: impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.by_ref().take(LONGEST + 1).read_until(b'\n', &mut line)?;
    if line.len() as u64 > LONGEST {
        if !line.ends_with(b"\n") {
            reader.skip_until(b'\n')?;
        }
        return Err(io::Error::other(format!("the line is longer than {} KiB", LONGEST >> 10)));
    }
    String::from_utf8(line).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_never_cut() {
        let most = usize::try_from(LONGEST).unwrap();
        let fits = "x".repeat(most - 1) + "\n";
        assert_eq!(line_of(fits.as_bytes()).unwrap(), fits);
        let long = "x".repeat(most + 1) + "\n";
        assert_eq!(line_of(long.as_bytes()).unwrap_err().to_string(), "the line is longer than 64 KiB");
    }

    #[test]
    fn the_rest_of_a_line_that_is_too_long_is_no_answer() {
        let most = usize::try_from(LONGEST).unwrap();
        // Of the first, only the line break is left unread; of the second, the limit falls within a character.
        for long in ["x".repeat(most), "x".repeat(most) + "\u{e9}", "x".repeat(2 * most)] {
            let typed = format!("{long}\nnext\n");
            let mut reader = typed.as_bytes();
            assert_eq!(line_of(&mut reader).unwrap_err().to_string(), "the line is longer than 64 KiB");
            assert_eq!(line_of(&mut reader).unwrap(), "next\n");
        }
    }

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

    #[test]
    fn an_address_leads_back_if_it_is_of_the_same_server_and_path() {
        let check = |answer: &str, redirect_uri: &str, expected: bool| {
            assert_eq!(leads_back(answer, redirect_uri), expected, "{answer:?} of {redirect_uri:?}");
        };
        for redirect_uri in ["http://localhost:8400", "http://localhost:8400/"] {
            check("http://localhost:8400/?code=1", redirect_uri, true);
            check("http://localhost:8400?code=1", redirect_uri, true);
            check("http://localhost:84001/?code=1", redirect_uri, false);
            check("http://localhost:8400.example/?code=1", redirect_uri, false);
        }
        check("http://localhost/back#token=1", "http://localhost/back", true);
        check("http://localhost/?code=1", "http://localhost/back", false);
        check("http://localhost/back?app=/&code=1", "http://localhost/back?app=/", true);
        check("http://localhost/back?app=/1&code=1", "http://localhost/back?app=/", false);
        check("http://localhost/back?code=1", "http://localhost/back?", true);
        check("http://localhost/back?code=1", "http://LocalHost/back", true);
        check("http://localhost/\u{e9}", "http://localhost/e", false);
        check("https://door.example/back?code=1", "https://door.example:443/back", true);
        check("https://door.example:8443/back?code=1", "https://door.example/back", false);
        check("http://door.example:443/back?code=1", "https://door.example/back", false);
        check("https://xn--tr-xka.example/?code=1", "https://t\u{fc}r.example", true);
        check("http://localhost@door.example/?code=1", "http://localhost", false);
        check("app://back?code=1", "app://back", true);
        check("app:///back?code=1", "app:///back", true);
        check("http://localhost/back?code=1", "app:///back", false);
        check("the code", "urn:ietf:wg:oauth:2.0:oob", true);
        check("the code", "", true);
    }

    #[tokio::test]
    async fn who_asks_next_has_the_line_that_nobody_waits_for_any_more() {
        let (person, typed) = std::sync::mpsc::channel();
        let mut reading = Reading::default();
        tokio::select! {
            biased;
            line = next_line(&mut reading, move || typed.recv().map_err(io::Error::other)) => {
                panic!("nobody typed {line:?}")
            }
            () = std::future::ready(()) => {}
        }
        person.send("there\n".to_owned()).unwrap();
        let again = || Err(io::Error::other("stdin is being read already"));
        assert_eq!(next_line(&mut reading, again).await.unwrap(), "there\n");
    }
}
