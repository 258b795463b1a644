//! Which addresses a person is sent to.
//!
//! A handler says where to enter a code. Whoever can have it say something else could send a person to a page of their own
//! network that does something when it is opened, or have them type a code where anybody reads it. Names are not looked
//! up: whatever they lead to now, they could lead elsewhere for the browser.

use url::{Host, Url};

use crate::public::is_public;

/// Returns what is wrong with an address that is to be opened, if anything is. No address is none to be opened.
pub(super) fn fault(address: &str) -> Option<&'static str> {
    if address.is_empty() {
        return None;
    }
    let Ok(url) = Url::parse(address) else { return Some("that is no address") };
    if url.scheme() != "https" {
        return Some("that is not https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("that has a user in front of its host");
    }
    let is_elsewhere = match url.host() {
        None => false,
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name != "localhost" && !name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => is_public(address.into()),
        Some(Host::Ipv6(address)) => is_public(address.into()),
    };
    (!is_elsewhere).then_some("that is in a private network or on this machine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_sent_to_pages_on_the_web_alone() {
        for good in
            ["", "https://door.example/device?a=b", "https://door.example:8443", "https://93.184.216.34/"]
        {
            assert_eq!(fault(good), None, "{good}");
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
            assert_eq!(fault(bad), Some(expected), "{bad}");
        }
    }
}
