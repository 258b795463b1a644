//! Which addresses a person is sent to.
//!
//! A handler says where to enter a code. Whoever can have it say something else could send a person to a page of their own
//! network that does something when it is opened, or have them type a code where anybody reads it. Names are not looked
//! up: whatever they lead to now, they could lead elsewhere for the browser.

use url::{Host, Url};

use crate::public::is_public;

/// Returns what is wrong with the address of a page where a code is to be entered, if anything is. No address is none to
/// be opened.
pub(super) fn of_code(address: &str) -> Option<&'static str> {
    if address.is_empty() {
        return None;
    }
    let Ok(url) = Url::parse(address) else { return Some(NONE) };
    if url.scheme() != "https" {
        return Some("that is not https");
    }
    if has_user(&url) {
        return Some(USER);
    }
    let is_elsewhere = match url.host() {
        None => false,
        Some(Host::Domain(name)) => !is_local(name),
        Some(Host::Ipv4(address)) => is_public(address.into()),
        Some(Host::Ipv6(address)) => is_public(address.into()),
    };
    (!is_elsewhere).then_some("that is in a private network or on this machine")
}

/// Returns what is wrong with the address of a page that a person brings something back from, if anything is. Servers of
/// one's own network have such pages, and programs on this machine.
pub(in super::super) fn of_answer(address: &str) -> Option<&'static str> {
    let Ok(url) = Url::parse(address) else { return Some(NONE) };
    let is_here = match url.host() {
        None => false,
        Some(Host::Domain(name)) => is_local(name),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
    };
    match url.scheme() {
        _ if has_user(&url) => Some(USER),
        "https" => None,
        "http" if is_here => None,
        _ => Some("that is not https"),
    }
}

const NONE: &str = "that is no address";
const USER: &str = "that has a user in front of its host";

/// What looks like the host may be the user: `https://good.example@evil.example/`.
fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

fn is_local(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_sent_to_pages_on_the_web_alone() {
        for good in
            ["", "https://door.example/device?a=b", "https://door.example:8443", "https://93.184.216.34/"]
        {
            assert_eq!(of_code(good), None, "{good}");
        }
        for (bad, expected) in [
            ("door.example", "that is no address"),
            ("http://door.example", "that is not https"),
            ("file:///etc/passwd", "that is not https"),
            ("javascript:alert(1)", "that is not https"),
            ("https://door.example@evil.example/", "that has a user in front of its host"),
            ("https://localhost./", "that is in a private network or on this machine"),
            ("https://a.localhost/", "that is in a private network or on this machine"),
            ("https://10.0.0.7:8080/device", "that is in a private network or on this machine"),
            ("https://0x7f.1/", "that is in a private network or on this machine"),
            ("https://169.254.169.254/", "that is in a private network or on this machine"),
            ("https://100.100.0.1/", "that is in a private network or on this machine"),
            ("https://[::1]/", "that is in a private network or on this machine"),
            ("https://[::ffff:127.0.0.1]/", "that is in a private network or on this machine"),
            ("https://[fd00::1]/", "that is in a private network or on this machine"),
            ("https://[fe80::1]/", "that is in a private network or on this machine"),
        ] {
            assert_eq!(of_code(bad), Some(expected), "{bad}");
        }
    }

    #[test]
    fn what_is_brought_back_may_come_from_a_server_of_ones_own() {
        for good in
            ["https://10.0.0.7:6443/a?b", "https://door.example/", "http://localhost:1/", "http://[::1]/"]
        {
            assert_eq!(of_answer(good), None, "{good}");
        }
        for bad in ["", "door.example", "http://door.example/", "javascript:x", "file:///a", "https://a@b/"] {
            assert!(of_answer(bad).is_some(), "{bad}");
        }
    }
}
