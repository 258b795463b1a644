//! The one line that a plugin prints.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;

use super::invitation::Multiplex;
use crate::Address;

/// The line of a plugin that listens. Displayed, it has no line feed.
///
/// The version of the handshake comes first and is the only one there is; the protocol is never
/// anything but gRPC.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// The version of the application's protocol that was chosen.
    pub(super) version: u32,
    /// Where the plugin listens.
    pub(super) address: &'a Address,
    /// The plugin's certificate as the line has it; empty without TLS, because a host that did not ask for one fails
    /// over it.
    pub(super) certificate: &'a str,
    /// Whether the host asked for multiplexing. Older hosts read one field less.
    pub(super) multiplex: Multiplex,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, address, certificate, multiplex } = self;
        write!(f, "1|{version}|{}|{address}|grpc|{certificate}", address.network())?;
        match multiplex {
            Multiplex::Unheard => Ok(()),
            // The field says whether we can; Go's plugins answer yes to either wish, too.
            Multiplex::Off | Multiplex::On => f.write_str("|true"),
        }
    }
}

/// Prints `line` and its line feed with one write, past every buffer.
pub(super) fn print(line: &Line<'_>, to: impl AsFd) -> io::Result<()> {
    // One write is enough for a pipe with room, and this one is new.
    File::from(to.as_fd().try_clone_to_owned()?).write_all(format!("{line}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::{Expected, Handshake, Versions};

    fn check(network: &str, address: &str, certificate: &str, multiplex: Multiplex, expected: &str) {
        let address = Address::parse(network, address).unwrap();
        let line = Line { version: 5, address: &address, certificate, multiplex };
        assert_eq!(line.to_string(), expected);
    }

    #[test]
    fn a_line_has_six_fields() {
        check("unix", "/tmp/plugin1", "", Multiplex::Unheard, "1|5|unix|/tmp/plugin1|grpc|"); // P-09, P-10
        check("tcp", "127.0.0.1:80", "", Multiplex::Unheard, "1|5|tcp|127.0.0.1:80|grpc|");
        check("unix", "/tmp/p", "AQID", Multiplex::Unheard, "1|5|unix|/tmp/p|grpc|AQID"); // P-11
    }

    #[test]
    fn a_host_that_knows_of_multiplexing_gets_a_seventh() {
        check("unix", "/tmp/p", "", Multiplex::On, "1|5|unix|/tmp/p|grpc||true"); // P-12
        check("unix", "/tmp/p", "", Multiplex::Off, "1|5|unix|/tmp/p|grpc||true");
    }

    #[test]
    fn what_is_printed_a_host_can_read() {
        let address = Address::parse("unix", "/tmp/plugin1").unwrap();
        let line = Line { version: 5, address: &address, certificate: "", multiplex: Multiplex::On };
        let (mut reader, writer) = io::pipe().unwrap();
        print(&line, &writer).unwrap();
        drop(writer);
        let mut printed = String::new();
        reader.read_to_string(&mut printed).unwrap();
        assert_eq!(printed, format!("{line}\n")); // P-08
        let expected = Expected { versions: Versions::from([5]), certificate: false, multiplexing: true };
        let read = Handshake::parse(&printed, &expected).unwrap();
        assert_eq!((read.version(), read.address()), (5, &address));
    }

    #[test]
    fn nobody_to_read_the_line_is_an_error() {
        let address = Address::parse("unix", "/tmp/plugin1").unwrap();
        let line = Line { version: 5, address: &address, certificate: "", multiplex: Multiplex::Unheard };
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert_eq!(print(&line, &writer).unwrap_err().kind(), io::ErrorKind::BrokenPipe); // P-47
    }
}
