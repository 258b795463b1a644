//! What a provider is given: `key=value`, `@file` and their mixtures, as upstream reads them.
//!
//! Every value from the command line is text; what it should be instead is for the schema to say. Values
//! from files keep their types, and their numbers all their digits. A key that comes again adds to a list.
//!
//! Files and stdin are read here; nothing is fetched, whatever a value looks like.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context as _, bail};
use portcullis_contract::{Json, json_string, quoted};
use serde_json::value::RawValue;

use crate::yaml;

mod fields;
mod pairs;

use fields::Fields;

/// The most that is read for one value, or from stdin: somebody might point at an endless stream.
const LARGEST_READ: u64 = 1 << 20;
/// The most that is read of a file of inputs. Upstream reads all of it, endless ones included; no plugin
/// takes a request that is larger than this.
const LARGEST_FILE: u64 = 64 << 20;

/// Reads the inputs of one run: those of `--input`, then those that stand by themselves.
pub(crate) fn read(flags: &[String], arguments: &[String], stdin: impl Read) -> anyhow::Result<Json> {
    let arguments: Vec<_> = arguments
        .iter()
        .map(|argument| positional(argument))
        .collect::<anyhow::Result<_>>()
        .context("failed to parse input arguments")?;
    let mut inputs = Inputs { values: BTreeMap::new(), stdin: Some(stdin) };
    for text in flags.iter().map(String::as_str).chain(arguments) {
        inputs.take(text).context("failed to parse input parameters")?;
    }
    Ok(inputs.to_json())
}

/// Returns whether reading the inputs will read stdin.
pub(crate) fn reads_stdin(flags: &[String], arguments: &[String]) -> bool {
    flags
        .iter()
        .chain(arguments)
        .any(|text| text == "@-" || reference(text).is_some_and(|(_, file)| file == "-"))
}

/// Returns what an argument says after the provider's name.
fn positional(argument: &str) -> anyhow::Result<&str> {
    match argument.strip_prefix("--") {
        Some(pair) if pair.contains('=') => Ok(pair),
        Some(_) => bail!("dynamic flag {} must use --key=value syntax (= is required)", quoted(argument)),
        None if argument.starts_with('-') => bail!(
            "single-dash flag {} is not supported for dynamic inputs; use --key=value or key=value",
            quoted(argument)
        ),
        None if argument.starts_with('@') || argument.contains('=') => Ok(argument),
        None => {
            bail!(
                "unexpected argument {}: use key=value or --key=value for provider inputs",
                quoted(argument)
            )
        }
    }
}

/// What was given for one key; every part is JSON.
#[derive(Debug, PartialEq)]
enum Value {
    One(String),
    Several(Vec<String>),
}

struct Inputs<R> {
    values: BTreeMap<String, Value>,
    /// Gone once it was read.
    stdin: Option<R>,
}

impl<R: Read> Inputs<R> {
    fn take(&mut self, text: &str) -> anyhow::Result<()> {
        if let Some(file) = text.strip_prefix('@') {
            let fields = if file == "-" {
                let Some(stdin) = self.stdin.take() else {
                    bail!("@- can only be specified once (stdin can only be read once)");
                };
                from_stdin(stdin)?
            } else {
                from_file(Path::new(file))?
            };
            for (key, value) in fields.0 {
                self.add(key, Value::of(&value)?);
            }
        } else if let Some((key, file)) = reference(text) {
            let content = if file == "-" {
                let Some(stdin) = self.stdin.take() else {
                    bail!("{key}=@-: stdin has already been consumed (stdin can only be read once)");
                };
                content(stdin, "/dev/stdin", "stdin")?
            } else {
                content_of(file)?
            };
            self.add(key.to_owned(), Value::One(json_string(&content)));
        } else {
            let pairs =
                pairs::parse(text).with_context(|| format!("failed to parse parameter {}", quoted(text)))?;
            for (key, mut values) in pairs {
                let value = match values.len() {
                    1 => Value::One(values.remove(0)),
                    _ => Value::Several(values),
                };
                self.add(key, value.map(|text| json_string(&text)));
            }
        }
        Ok(())
    }

    fn add(&mut self, key: String, value: Value) {
        let before = self.values.remove(&key).filter(|before| *before != Value::One("null".to_owned()));
        let value = match before {
            None => value,
            Some(before) => {
                let mut parts = before.into_parts();
                parts.extend(value.into_parts());
                Value::Several(parts)
            }
        };
        self.values.insert(key, value);
    }

    fn to_json(&self) -> Json {
        let mut out = String::from("{");
        for (at, (key, value)) in self.values.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let value = match value {
                Value::One(text) => text.clone(),
                Value::Several(parts) => format!("[{}]", parts.join(",")),
            };
            let _ = write!(out, "{comma}{}:{value}", json_string(key));
        }
        out.push('}');
        Json::from_text(out)
    }
}

impl Value {
    /// Takes a list apart, so that more can be added to it.
    fn of(raw: &RawValue) -> anyhow::Result<Self> {
        if !raw.get().starts_with('[') {
            return Ok(Self::One(raw.get().to_owned()));
        }
        let parts: Vec<&RawValue> = serde_json::from_str(raw.get())?;
        Ok(Self::Several(parts.into_iter().map(|part| part.get().to_owned()).collect()))
    }

    fn into_parts(self) -> Vec<String> {
        match self {
            Self::One(part) => vec![part],
            Self::Several(parts) => parts,
        }
    }

    fn map(self, change: impl Fn(String) -> String) -> Self {
        match self {
            Self::One(part) => Self::One(change(part)),
            Self::Several(parts) => Self::Several(parts.into_iter().map(change).collect()),
        }
    }
}

/// Returns the key and the file of `key=@file`.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once('=')?;
    let file = value.strip_prefix('@')?;
    (!key.is_empty() && !key.contains([' ', '\t', '\r', '\n']) && !file.is_empty()).then_some((key, file))
}

fn from_file(path: &Path) -> anyhow::Result<Fields> {
    let shown = path.display().to_string();
    let text = File::open(path)
        .map_err(|error| system(&error, "open", &shown))
        .and_then(|file| bounded(file, LARGEST_FILE).map_err(|error| system(&error, "read", &shown)))
        .with_context(|| format!("failed to read parameter file {}", quoted(&shown)))?;
    let Some(text) = text else {
        bail!("parameter file {} exceeds maximum allowed size ({LARGEST_FILE} bytes)", quoted(&shown));
    };
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
    match extension.as_str() {
        "yaml" | "yml" => from_yaml(&text)
            .with_context(|| format!("failed to parse YAML parameter file {}", quoted(&shown))),
        "json" => serde_json::from_str(&text)
            .with_context(|| format!("failed to parse JSON parameter file {}", quoted(&shown))),
        _ => from_either(&text, &format!("parameter file {}", quoted(&shown))),
    }
}

fn from_stdin(stdin: impl Read) -> anyhow::Result<Fields> {
    let Some(text) = bounded(stdin, LARGEST_READ).context("failed to read parameters from stdin")? else {
        bail!("parameters from stdin exceed maximum allowed size ({LARGEST_READ} bytes)");
    };
    if text.trim().is_empty() {
        bail!("no data received from stdin");
    }
    from_either(&text, "stdin")
}

fn from_either(text: &str, source: &str) -> anyhow::Result<Fields> {
    from_yaml(text).or_else(|not_yaml| {
        serde_json::from_str(text).map_err(|not_json| {
            anyhow::anyhow!("failed to parse {source} as YAML or JSON: {not_yaml:#}\n{not_json}")
        })
    })
}

fn from_yaml(text: &str) -> anyhow::Result<Fields> {
    let json = yaml::to_json(text)?;
    if json == "null" {
        return Ok(Fields::default());
    }
    Ok(serde_json::from_str(&json)?)
}

fn content_of(file: &str) -> anyhow::Result<String> {
    let opened = File::open(file).and_then(|opened| Ok((opened.metadata()?, opened)));
    let (size, opened) = opened
        .map_err(|error| system(&error, "stat", file))
        .with_context(|| format!("failed to read file {}", quoted(file)))?;
    if size.is_file() && size.len() > LARGEST_READ {
        bail!("file {} exceeds maximum raw read size ({LARGEST_READ} bytes)", quoted(file));
    }
    content(opened, file, &format!("file {}", quoted(file)))
}

/// Says what the system said, in upstream's form.
pub(crate) fn system(error: &io::Error, call: &str, file: &str) -> anyhow::Error {
    let text = error.to_string().to_lowercase();
    let text = text.split_once(" (os error").map_or(text.as_str(), |(text, _)| text);
    anyhow::anyhow!("{call} {file}: {text}")
}

/// Reads a text and takes off the line break that `echo` adds.
fn content(reader: impl Read, name: &str, source: &str) -> anyhow::Result<String> {
    let read = bounded(reader, LARGEST_READ).map_err(|error| system(&error, "read", name));
    let Some(text) = read.with_context(|| format!("failed to read from {source}"))? else {
        bail!("{source} exceeds maximum raw read size ({LARGEST_READ} bytes)");
    };
    if text.trim().is_empty() {
        bail!("no data received from {source}");
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// Reads a text; `None` if it is larger than is allowed.
fn bounded(reader: impl Read, limit: u64) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    // Checked before UTF-8: the limit may fall into the middle of a character.
    if bytes.len() as u64 > limit {
        return Ok(None);
    }
    let text = String::from_utf8(bytes);
    text.map(Some)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn check(arguments: &[&str], stdin: &str, expected: &str) {
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let found = match read(&[], &arguments, stdin.as_bytes()) {
            Ok(json) => json.into_string(),
            Err(problem) => format!("error: {problem:#}"),
        };
        assert_eq!(found, expected, "{arguments:?}");
    }

    #[test]
    fn values_are_text_and_several_are_a_list() {
        check(&[], "", "{}");
        check(&["a=1", "b=true", "c="], "", r#"{"a":"1","b":"true","c":""}"#);
        check(&["a=1,2,3"], "", r#"{"a":["1","2","3"]}"#);
        check(&["a=1", "a=2", "a=3,4"], "", r#"{"a":["1","2","3","4"]}"#);
        check(&["a=x=y"], "", r#"{"a":"x=y"}"#);
        check(&["--a=1"], "", r#"{"a":"1"}"#);
    }

    #[test]
    fn flags_come_before_what_stands_by_itself() {
        let inputs = read(&["a=1".to_owned()], &["a=2".to_owned()], &b""[..]).unwrap();
        assert_eq!(inputs.as_str(), r#"{"a":["1","2"]}"#);
    }

    #[test]
    fn files_keep_their_types_and_all_digits() {
        let directory = std::env::temp_dir().join(format!("portcullis-inputs-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).unwrap();
            format!("@{}", path.display())
        };
        let yaml = file("a.yaml", "n: 9007199254740993\nl: [1, two]\nz: null\nt: 2024-01-15\n");
        check(&[&yaml], "", r#"{"l":[1,"two"],"n":9007199254740993,"t":"2024-01-15","z":null}"#);
        check(&[&yaml, "l=three", "z=1"], "", {
            r#"{"l":[1,"two","three"],"n":9007199254740993,"t":"2024-01-15","z":"1"}"#
        });
        let json = file("a.json", r#"{"x": 1e400, "o": {"b":1,"a":2}}"#);
        check(&[&json], "", r#"{"o":{"b":1,"a":2},"x":1e400}"#);
        check(&[&file("null.json", " null\n")], "", "{}");
        let raw = file("raw", "two\nlines\r\n");
        check(&[&format!("k={raw}")], "", r#"{"k":"two\nlines"}"#);
        let twice = file("twice.json", r#"{"a":1,"a":2}"#);
        let shown = &twice[1..];
        check(
            &[&twice],
            "",
            &format!(
                "error: failed to parse input parameters: failed to parse JSON parameter file {shown:?}: \
             duplicate key \"a\" at line 1 column 10"
            ),
        );
        let folder = directory.display();
        let read = format!("failed to read from file \"{folder}\": read {folder}: is a directory");
        let error = format!("error: failed to parse input parameters: {read}");
        check(&[&format!("k=@{folder}")], "", &error);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_was_typed_is_quoted_as_go_quotes_it() {
        let error = "error: failed to parse input arguments: unexpected argument \"a\\x1bb\u{301}\": use key=value or \
                     --key=value for provider inputs";
        check(&["a\u{1b}b\u{301}"], "", error);
    }

    #[test]
    fn what_is_larger_than_allowed_is_said_to_be() {
        let directory = std::env::temp_dir().join(format!("portcullis-large-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("large.yaml");
        let shown = path.display().to_string();
        let most = usize::try_from(LARGEST_READ).unwrap();

        let fits = format!("a: {}", "x".repeat(most - 3));
        fs::write(&path, &fits).unwrap();
        check(&[&format!("@{shown}")], "", &format!("{{\"a\":\"{}\"}}", &fits[3..]));

        // One byte more, in the middle of a character.
        let large = format!("a: {}\u{e9}", "x".repeat(most - 4));
        fs::write(&path, format!("{large} and more")).unwrap();
        let refused = |argument: &str, what: &str| {
            let error = format!("error: failed to parse input parameters: {what} (1048576 bytes)");
            check(&[argument], &large, &error);
        };
        refused(&format!("k=@{shown}"), &format!("file {shown:?} exceeds maximum raw read size"));
        refused("@-", "parameters from stdin exceed maximum allowed size");
        refused("k=@-", "stdin exceeds maximum raw read size");

        // A file of inputs may be as large as a request, but not endless.
        check(&[&format!("@{shown}")], "", &format!("{{\"a\":\"{} and more\"}}", &large[3..]));
        check(&["@/dev/zero"], "", {
            "error: failed to parse input parameters: parameter file \"/dev/zero\" exceeds maximum allowed size \
             (67108864 bytes)"
        });
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn stdin_is_read_once() {
        check(&["@-"], "a: 1", r#"{"a":1}"#);
        check(&["k=@-"], "text\n", r#"{"k":"text"}"#);
        check(&["@-", "@-"], "a: 1", {
            "error: failed to parse input parameters: @- can only be specified once (stdin can only be read once)"
        });
        check(&["@-"], " \n", "error: failed to parse input parameters: no data received from stdin");
    }

    #[test]
    fn trouble_is_said_in_upstreams_words() {
        check(&["a"], "", {
            "error: failed to parse input arguments: unexpected argument \"a\": use key=value or --key=value \
             for provider inputs"
        });
        check(&["--a"], "", {
            "error: failed to parse input arguments: dynamic flag \"--a\" must use --key=value syntax (= is required)"
        });
        check(&["=a"], "", {
            "error: failed to parse input parameters: failed to parse parameter \"=a\": invalid key-value pair at \
             index 0: empty key in \"=a\""
        });
        check(&["@/nosuch.yaml"], "", {
            "error: failed to parse input parameters: failed to read parameter file \"/nosuch.yaml\": open \
             /nosuch.yaml: no such file or directory"
        });
        check(&["a=it's"], "", {
            "error: failed to parse input parameters: failed to parse parameter \"a=it's\": failed to parse CSV in \
             \"a=it's\": unterminated quote in \"a=it's\""
        });
    }
}
