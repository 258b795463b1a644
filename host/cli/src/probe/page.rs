//! What was found out about a plugin, as the page that people read. What it said stands in lines of ours, or behind the
//! margin that those begin at.

use std::fmt::Write as _;

use portcullis_contract::{visible, visible_line};

use super::findings::{Finding, Weight};
use super::report::{Certificate, Handshake, Line, Prints, Reached, Report, Shutdown, WithoutCookie};

/// How many lines of the log are shown: the last ones. The other forms hold all that was kept.
const LOG: usize = 20;

/// How many lines are shown of what it printed.
const PRINTED: usize = 10;

/// How much is shown of a field that nobody reads.
const FIELD: usize = 12;

/// Writes the page.
pub(super) fn write(report: &Report) -> String {
    let mut out = format!("Plugin {}\n", report.binary);
    if let Some(problem) = &report.problem {
        row(&mut out, "problem", problem);
    }
    if let Some(handshake) = &report.handshake {
        write_handshake(&mut out, handshake);
    }
    if let Some(reached) = &report.connection {
        write_connection(&mut out, report, reached);
    }
    if let Some(certificate) = &report.certificate {
        write_certificate(&mut out, certificate);
    }
    write_services(&mut out, report);
    write_log(&mut out, &report.log, report.log_left_out);
    write_prints(&mut out, &report.printed);
    if let Some(shutdown) = &report.shutdown {
        write_shutdown(&mut out, shutdown);
    }
    if let Some(seen) = &report.without_cookie {
        write_without_cookie(&mut out, seen);
    }
    write_findings(&mut out, report);
    visible(&out)
}

fn row(out: &mut String, name: &str, text: &str) {
    let _ = writeln!(out, "  {name:<15}{}", text.trim_end().replace('\n', "\n                 "));
}

fn write_handshake(out: &mut String, handshake: &Handshake) {
    out.push_str("\nHandshake\n");
    let fields: Vec<_> = handshake.line.trim().split('|').map(shortened).collect();
    row(out, "line", &fields.join("|"));
    let named = [
        ("core version", &handshake.core_version),
        ("version", &handshake.version),
        ("network", &handshake.network),
        ("address", &handshake.address),
        ("protocol", &handshake.protocol),
    ];
    for (name, field) in named {
        row(out, name, field.as_deref().unwrap_or("missing"));
    }
    let certificate = match handshake.certificate.as_deref() {
        None => "missing".to_owned(),
        Some("") => "none".to_owned(),
        Some(field) => format!("{} characters", field.chars().count()),
    };
    row(out, "certificate", &certificate);
    row(out, "multiplexing", handshake.multiplexing.as_deref().unwrap_or("not mentioned"));
}

/// Shortens what is too long to be looked at: a certificate.
fn shortened(field: &str) -> String {
    const LONGEST: usize = 110;
    if field.chars().count() <= LONGEST {
        return field.to_owned();
    }
    field.chars().take(FIELD).chain("...".chars()).collect()
}

fn write_connection(out: &mut String, report: &Report, reached: &Reached) {
    out.push_str("\nConnection\n");
    row(
        out,
        "connected",
        &format!("to {} {}, {} ms after the start", reached.network, reached.address, reached.millis),
    );
    let offered: Vec<_> = report.asked.versions.iter().map(ToString::to_string).collect();
    row(out, "version", &format!("{}, of {} offered", reached.negotiated_version, offered.join(", ")));
    let encryption = match &reached.tls {
        Some(tls) => {
            format!("{}, {}, ALPN {}", tls.version, tls.suite, tls.alpn.as_deref().unwrap_or("not agreed on"))
        }
        None => "none".to_owned(),
    };
    row(out, "encryption", &encryption);
    row(out, "sockets", if reached.multiplexed { "one for all connections" } else { "one for each server" });
    if let Some(mode) = &reached.socket_mode {
        row(out, "socket's mode", mode);
    }
}

fn write_certificate(out: &mut String, certificate: &Certificate) {
    out.push_str("\nIts certificate\n");
    if let Some(problem) = &certificate.problem {
        row(out, "problem", problem);
    }
    if let Some(says) = &certificate.says {
        row(out, "subject", &says.subject);
        row(out, "issuer", if says.issuer == says.subject { "itself" } else { &says.issuer });
        row(out, "names", &says.names.join(", "));
        row(out, "key", &says.key);
        row(out, "valid", &format!("{} to {}", says.not_before, says.not_after));
        let uses = [
            (says.server_auth, "servers"),
            (says.client_auth, "clients"),
            (says.authority, "signing others"),
        ];
        let uses: Vec<_> = uses.iter().filter(|(may, _)| *may).map(|(_, name)| *name).collect();
        row(out, "good for", &uses.join(", "));
        row(out, "serial", &says.serial);
    }
    if !certificate.sha256.is_empty() {
        row(out, "SHA-256", &certificate.sha256);
    }
}

fn write_services(out: &mut String, report: &Report) {
    if let Some(health) = &report.health {
        out.push_str("\nHealth\n");
        row(out, "plugin", &health.plugin);
        for (name, text) in [("(empty name)", &health.server), ("(unknown)", &health.unknown)] {
            if let Some(text) = text {
                row(out, name, text);
            }
        }
    }
    if let Some(streams) = &report.streams {
        out.push_str("\nStreams that it keeps open\n");
        row(out, "stdio", &streams.stdio);
        row(out, "broker", &streams.broker);
    }
    if let Some(services) = &report.services {
        let by = services.reflection.map(|version| format!(" (by server reflection {version})"));
        let _ = writeln!(out, "\nServices{}", by.unwrap_or_default());
        match &services.problem {
            Some(problem) => row(out, "problem", problem),
            None if services.reflection.is_none() => {
                out.push_str("  it does not say: it has no server reflection\n")
            }
            None => {
                for name in &services.names {
                    let _ = writeln!(out, "  - {}", visible_line(name));
                }
            }
        }
    }
}

fn write_log(out: &mut String, log: &[Line], left_out: usize) {
    let levels = ["error", "warn", "info", "debug", "trace"];
    let counts = levels.map(|level| (level, log.iter().filter(|line| line.level == level).count()));
    let counts: Vec<_> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(level, count)| format!("{count} {level}"))
        .collect();
    let title = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
    let _ = writeln!(out, "\nIts log: {title}");
    let skipped = log.len().saturating_sub(LOG);
    if skipped + left_out > 0 {
        let _ = writeln!(out, "  ({} lines are not shown)", skipped + left_out);
    }
    for line in log.iter().skip(skipped) {
        let module = line.module.as_ref().map(|module| format!("{module}: ")).unwrap_or_default();
        let mut text = format!("{module}{}", line.message);
        for (key, value) in &line.fields {
            let _ = write!(text, " {key}={value}");
        }
        let _ = writeln!(out, "  {:<7}{}", line.level, text.trim_end().replace('\n', "\n         "));
    }
}

fn write_prints(out: &mut String, printed: &Prints) {
    let all = [
        ("to stdout", &printed.stdout),
        ("to stderr", &printed.stderr),
        ("past the stdio service", &printed.raw_stdout),
    ];
    for (way, text) in all.iter().filter(|(_, text)| !text.is_empty()) {
        let _ = writeln!(out, "\nWhat it printed {way}");
        for line in text.lines().take(PRINTED) {
            let line: String = line.chars().take(200).collect();
            let _ = writeln!(out, "  {line}");
        }
        let more = text.lines().count().saturating_sub(PRINTED);
        if more > 0 {
            let _ = writeln!(out, "  ({more} lines are not shown)");
        }
    }
}

fn write_shutdown(out: &mut String, shutdown: &Shutdown) {
    out.push_str("\nHow it ended\n");
    row(out, "when asked to", &shutdown.answer);
    let how = match (shutdown.killed, shutdown.has_controller) {
        (false, _) => "by itself",
        // Without a controller, a signal is the only way to ask, and it may have ended properly.
        (true, false) => "by a signal",
        (true, true) => "killed",
    };
    row(out, "end", &format!("{how}, after {} ms: {}", shutdown.millis, shutdown.exit));
    let left = shutdown.sockets_left.join(", ");
    row(out, "sockets left", if left.is_empty() { "none" } else { &left });
}

fn write_without_cookie(out: &mut String, seen: &WithoutCookie) {
    out.push_str("\nWithout the cookie\n");
    row(out, "end", &seen.ended);
    row(out, "stdout", if seen.printed.is_empty() { "nothing" } else { &seen.printed });
    row(out, "stderr", if seen.gave_notice { "a notice" } else { "nothing" });
}

fn write_findings(out: &mut String, report: &Report) {
    for (title, weight) in [("What is wrong", Weight::Must), ("What could be better", Weight::Should)] {
        let found: Vec<&Finding> =
            report.findings.iter().filter(|finding| finding.weight == weight).collect();
        match (found.is_empty(), weight, &report.problem) {
            (true, Weight::Must, None) => {
                let _ = writeln!(out, "\n{title}\n  nothing");
            }
            (true, ..) => {}
            (false, ..) => {
                let _ = writeln!(out, "\n{title}");
                for finding in found {
                    let Finding { item, found, advice, .. } = finding;
                    let _ = writeln!(out, "  {item}  {}\n        {advice}", visible_line(found));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::probe::report::{Services, Wishes};

    #[test]
    fn who_can_be_asked_by_a_signal_alone_is_not_called_killed() {
        let told = |killed, has_controller| {
            let (answer, exit) = ("said nothing".to_owned(), "exit status: 0".to_owned());
            let (code, millis, sockets_left) = (Some(0), 7, Vec::new());
            let mut out = String::new();
            write_shutdown(
                &mut out,
                &Shutdown { answer, exit, code, millis, killed, sockets_left, has_controller },
            );
            out
        };
        assert!(told(false, true).contains(" by itself, after 7 ms: exit status: 0\n"));
        assert!(told(true, false).contains(" by a signal, after 7 ms: exit status: 0\n"));
        assert!(told(true, true).contains(" killed, after 7 ms: exit status: 0\n"));
    }

    #[test]
    fn nothing_that_a_plugin_says_begins_a_line_of_ours() {
        let forged = || "a\n\nWhat is wrong\n  nothing".to_owned();
        let asked = Wishes { versions: vec![1], mtls: false, mux: false };
        let mut report = Report::of(Path::new("plugin"), asked);
        report.services = Some(Services { reflection: Some("v1"), names: vec![forged()], problem: None });
        report.problem = Some(forged());
        report.printed.stdout = forged();
        report.findings =
            vec![Finding { item: "P-32", weight: Weight::Must, found: forged(), advice: "serve it" }];

        let page = write(&report);

        assert_eq!(page.lines().filter(|line| *line == "What is wrong").count(), 1, "{page}");
        assert!(
            page.ends_with("\nWhat is wrong\n  P-32  a\\n\\nWhat is wrong\\n  nothing\n        serve it\n"),
            "{page}"
        );
    }
}
