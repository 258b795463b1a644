//! Fuzz target: the one line.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use portcullis_fuzz::{Outcome, fuzz};

use super::*;

/// No error is longer, whatever the line was: what it quotes is shortened, and a character takes ten bytes at most.
const LONGEST_ERROR: usize = 10 * QUOTED + 512;

fn line_of(handshake: &Handshake) -> String {
    let Handshake { version, address, certificate } = handshake;
    let certificate = certificate.as_ref().map(|der| BASE64_STANDARD_NO_PAD.encode(der)).unwrap_or_default();
    format!("{CORE}|{version}|{}|{address}|grpc|{certificate}|true", address.network())
}

#[test]
fn any_line_is_read_as_it_was_meant_or_refused_in_a_few_words() {
    fuzz(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/handshake"), |input| {
        let (line, mut outcome) = (String::from_utf8_lossy(input), Outcome::Refused);
        for (certificate, multiplexing) in [(false, false), (false, true), (true, false), (true, true)] {
            let expected = Expected { versions: Versions::from([1, 5]), certificate, multiplexing };
            match Handshake::parse(&line, &expected) {
                Ok(handshake) => {
                    outcome = Outcome::Taken;
                    assert!(expected.versions.contains(handshake.version()));
                    assert_eq!(handshake.certificate().is_some(), certificate);
                    assert_eq!(Handshake::parse(&line_of(&handshake), &expected), Ok(handshake));
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(!text.is_empty() && text.len() <= LONGEST_ERROR, "{} bytes", text.len());
                }
            }
        }
        outcome
    });
}
