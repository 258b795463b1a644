//! What upstream's command line accepts and clap by itself does not: repeated options, and flags with a value.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{ArgAction, ColorChoice, Command, CommandFactory as _, FromArgMatches as _};

use crate::Cli;

/// Options that may not be repeated: the first of two files, and what it denies, would be ignored silently.
const ONCE: [&str; 2] = ["policy", "secrets_file"];

/// Flags that take no value: their presence alone decides which other options are required or forbidden.
const ALONE: [&str; 2] = ["all", "purge_expired"];

/// Reads a command line, which begins with the name of the program.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = last_wins(Cli::command());
    // Looked for by hand: clap prints help and errors before we have its result.
    if arguments.iter().take_while(|argument| **argument != "--").any(|argument| *argument == "--no-color") {
        command = command.color(ColorChoice::Never);
    }
    // Help and errors show a flag as it is meant to be given: alone.
    match read(command.clone(), arguments) {
        Err(error) if matches!(error.kind(), ErrorKind::TooManyValues | ErrorKind::UnknownArgument) => {
            read(with_values(command), arguments).map_err(|again| {
                let is_of_the_flag = [ErrorKind::ValueValidation, error.kind()].contains(&again.kind());
                if is_of_the_flag { error } else { again }
            })
        }
        result => result,
    }
}

fn read(mut command: Command, arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Has an option that is given again override what it was.
fn last_wins(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let is_one = matches!(arg.get_action(), ArgAction::Set | ArgAction::SetTrue) && !arg.is_positional();
        let id = arg.get_id().clone();
        if is_one && !ONCE.contains(&id.as_str()) { arg.overrides_with_all([id]) } else { arg }
    });
    command.mut_subcommands(last_wins)
}

/// Has flags take a value behind a `=`.
fn with_values(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        if !matches!(arg.get_action(), ArgAction::SetTrue) || ALONE.contains(&arg.get_id().as_str()) {
            return arg;
        }
        arg.action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .value_parser(truth)
    });
    command.mut_subcommands(with_values)
}

/// Reads the value of a flag as Go does.
fn truth(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("neither true nor false"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        let arguments: Vec<_> = format!("portcullis {line}").split(' ').map(OsString::from).collect();
        parse(&arguments)
    }

    #[test]
    fn the_last_word_on_an_option_counts() {
        let levels = read("list --log-level info -q -q --log-level debug").expect("a command line");
        assert_eq!(levels.global.log_level.as_deref(), Some("debug"));
        assert!(levels.global.quiet);
        for file in ["--policy", "--secrets-file"] {
            let twice = read(&format!("run echo {file} a {file} b")).expect_err("one file too many");
            assert_eq!(twice.kind(), ErrorKind::ArgumentConflict, "{file}");
        }
    }

    #[test]
    fn a_flag_may_have_a_value() {
        for (line, expected) in [
            ("list --quiet=true", true),
            ("list --quiet=0", false),
            ("list -q=F", false),
            ("list --quiet --quiet=False", false),
            ("list --quiet=false -q", true),
            ("list --quiet=1 --describe", true),
        ] {
            assert_eq!(read(line).expect(line).global.quiet, expected, "{line}");
        }
    }

    #[test]
    fn a_value_of_a_flag_is_not_blamed_for_what_else_is_wrong() {
        for (line, expected) in [
            ("run --dry-run=true", ErrorKind::MissingRequiredArgument),
            ("run echo --dry-run=true --dry", ErrorKind::UnknownArgument),
            ("run --dry-run=true --help", ErrorKind::DisplayHelp),
        ] {
            let error = read(line).expect_err(line);
            assert_eq!(error.kind(), expected, "{line}: {error}");
        }
    }

    #[test]
    fn what_is_no_value_of_a_flag_is_told_as_ever() {
        for line in
            ["list --quiet=maybe", "list --quiet=", "run echo --dry-run=yes", "auth logout --all=false"]
        {
            let error = read(line).expect_err(line);
            assert_eq!(error.kind(), ErrorKind::TooManyValues, "{line}: {error}");
        }
    }
}
