//! A guest that does anything on request, what no guest should do included.
//!
//! Two providers that differ in one thing: `acrobat` streams, `acrobat-unary` does not. The input
//! `operation` says what to do.
//!
//! | `operation` | Inputs | `data` of its output, or what happens |
//! |---|---|---|
//! | `ok` | | `{"success":true}` |
//! | `warn` | `streamed` | the same, with two warnings, metadata, and `streamed` as the input has it |
//! | `context` | | everything that came with the request; see `sight.rs` |
//! | `configured` | | everything that came with the configuration; `null` before it came |
//! | `count` | | `{"count":n}`: the calls of `count` that this instance has seen |
//! | `fail` | `message`, `exitCode`, `diagnostics` | an error of just that |
//! | `stream` | `chunks`, `size`, `stderrEvery`, `pauseMillis` | `{"chunks":n,"bytes":n}`, `streamed`; see `stream` below |
//! | `stream-text` | `text` | streams it, then `{}`; not the native peer |
//! | `stream-fail` | | one chunk `before the end`, then the error `failed after a chunk` |
//! | `slow` | `millis` | sleeps, then `{"millis":n}` |
//! | `time-left` | | `{"millis":n}`, or `{"millis":null}` when nothing limits the call |
//! | `log` | `level`, `message` | logs it with the fields `who` (`acrobat`) and `n` (1), then as `ok` |
//! | `print` | `stream`, `text`, `repeat` | prints to its own `stdout` or `stderr`, then `{"bytes":n}` |
//! | `read` | `path` | `{"text":text}` |
//! | `write` | `path`, `text` | `{"bytes":n}` |
//! | `file-at-once` | `path`, `size` | `{"read":n,"room":n}`: how many bytes of it come at once, and can go; then writes `size` more than that, if not 0; components only |
//! | `files` | `path`, `chunks`, `name`, `text` | keeps a file open so often, sets a secret, then `{"files":n,"refused":why}`; components only |
//! | `listings` | `path`, `chunks`, `repeat` | keeps so many listings of a directory at a time, then `{"listings":n}`; components only |
//! | `touch` | `path` | sets the times of a file to now, then as `ok`; components only |
//! | `env` | `name` | `{"set":bool,"value":text}` |
//! | `connect` | `address` | `{"connected":true}` |
//! | `http` | `url` | `{"status":n,"body":text}`; components only |
//! | `http-headers` | `chunks`, `size` | keeps so many lists of headers of that size, then `{"lists":n}`; components only |
//! | `http-methods` | `chunks`, `size` | keeps so many requests with a method of that size, then `{"requests":n}`; components only |
//! | `http-authorities` | `chunks`, `size` | the same with authorities; components only |
//! | `panic` | `message` | panics |
//! | `panic-unread` | `message` | streams until nobody reads, then panics; not the native peer |
//! | `exit` | `code` | ends the whole plugin; a component can say no more than 0 or 1 |
//! | `spin` | | never ends, and never waits for anything either |
//! | `recurse` | | calls itself until the stack has no more room |
//! | `hoard` | `mib` | takes and touches that much memory, then `{"mib":n}` |
//! | `big` | `bytes` | a text of that many letters `x` |
//! | `invalid-json` | | `{oops` |
//! | `invalid-utf8` | | a text with the byte FF in it |
//!
//! Another operation is refused with `unknown operation: NAME`. Inputs that are left out are empty, 0
//! or false; `print` prints once when `repeat` is 0. The schema has no `url`: the native peer has no `http`,
//! and both describe themselves alike.
//!
//! The icon of its descriptors is what a file `/about/icon` holds, if it may read one.
//!
//! `describe-what-if` answers `Would OPERATION`; nothing for `quiet-what-if`; the error `what-if failed`
//! for `fail-what-if`. `extract-dependencies` returns the text of every `rslvr` in the inputs, the keys of
//! an object in the order of their bytes. A setting `refuse` makes `configure` fail with its text, and a setting
//! `secret` makes it ask the host for the secret of that name; the native peer has no `secret`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_sdk::{
    Capability, Configuration, Descriptor, Diagnostic, Error, Execute, Host, Json, Level, Output, Provider,
    Refusal, Severity, Sink,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[cfg(target_family = "wasm")]
mod files;
mod harm;
#[cfg(target_family = "wasm")]
mod http;
mod reach;
mod sight;

const PROVIDERS: [&str; 2] = ["acrobat", "acrobat-unary"];

#[derive(Debug, Default)]
pub(crate) struct Acrobat {
    /// By the name of the provider.
    configurations: Mutex<BTreeMap<String, Configuration>>,
    counted: AtomicU64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Input {
    operation: String,
    address: String,
    bytes: usize,
    chunks: usize,
    code: i32,
    diagnostics: Vec<Remark>,
    exit_code: i32,
    level: String,
    message: String,
    mib: usize,
    millis: u64,
    name: String,
    path: String,
    pause_millis: u64,
    repeat: usize,
    size: usize,
    stderr_every: usize,
    stream: String,
    streamed: bool,
    text: String,
    #[cfg(target_family = "wasm")]
    url: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Remark {
    severity: String,
    summary: String,
    detail: String,
    attribute: String,
}

impl Provider for Acrobat {
    fn providers(&self) -> Result<Vec<String>, Error> {
        Ok(PROVIDERS.map(str::to_owned).into())
    }

    fn describe(&self, provider: &str) -> Result<Descriptor, Error> {
        let description = match provider {
            "acrobat" => "Does anything on request, and streams.",
            "acrobat-unary" => "Does anything on request, without streaming.",
            other => return Err(Error::unknown_provider(other)),
        };
        let done = r#"{"properties":{"success":{"type":"boolean"}},"type":"object"}"#;
        Ok(Descriptor {
            name: provider.to_owned(),
            description: description.to_owned(),
            version: "1.2.3".to_owned(),
            category: "test".to_owned(),
            capabilities: vec![Capability::FROM, Capability::ACTION],
            schema: Some(Json::from_text(include_str!("schema.json").trim_end())),
            output_schemas: BTreeMap::from([
                (Capability::FROM, Json::from_text("{}")),
                (Capability::ACTION, Json::from_text(done)),
            ]),
            has_extract_dependencies: true,
            icon: std::fs::read_to_string("/about/icon").unwrap_or_default(),
            ..Descriptor::default()
        })
    }

    fn configure(&self, host: &Host<'_>, provider: &str, configuration: Configuration) -> Result<(), Error> {
        if let Some(text) = configuration.setting::<String>("refuse")? {
            return Err(Error::new(text));
        }
        if let Some(name) = configuration.setting::<String>("secret")? {
            host.get_secret(&name)?;
        }
        let mut configurations = self.configurations.lock()?;
        configurations.insert(provider.to_owned(), configuration);
        Ok(())
    }

    fn execute(&self, host: &Host<'_>, request: Execute) -> Result<Output, Error> {
        self.perform(host, &request, None)
    }

    fn execute_stream(
        &self,
        host: &Host<'_>,
        request: Execute,
        sink: &mut Sink<'_>,
    ) -> Result<Output, Error> {
        match request.provider.as_str() {
            "acrobat" => self.perform(host, &request, Some(sink)),
            _ => Err(Error::Unimplemented),
        }
    }

    fn describe_what_if(&self, _host: &Host<'_>, _provider: &str, input: &Json) -> Result<String, Error> {
        let Input { operation, .. } = input.decode("input")?;
        match operation.as_str() {
            "quiet-what-if" => Ok(String::new()),
            "fail-what-if" => Err(Error::new("what-if failed")),
            other => Ok(format!("Would {other}")),
        }
    }

    fn extract_dependencies(
        &self,
        _host: &Host<'_>,
        _provider: &str,
        inputs: &Json,
    ) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        resolvers(&inputs.decode("inputs")?, &mut found);
        Ok(found)
    }
}

impl Acrobat {
    fn perform(
        &self,
        host: &Host<'_>,
        request: &Execute,
        sink: Option<&mut Sink<'_>>,
    ) -> Result<Output, Error> {
        if !PROVIDERS.contains(&request.provider.as_str()) {
            return Err(Error::unknown_provider(&request.provider));
        }
        let input: Input = request.input_as()?;
        let data = match input.operation.as_str() {
            "ok" => json!({ "success": true }),
            "warn" => return Ok(warn(&input)),
            "context" => sight::of_request(&request.context)?,
            "configured" => match self.configurations.lock()?.get(request.provider.as_str()) {
                Some(configuration) => sight::of_configuration(configuration)?,
                None => Value::Null,
            },
            "count" => json!({ "count": self.counted.fetch_add(1, Ordering::Relaxed) + 1 }),
            "fail" => return Err(fail(input)),
            "stream" => return stream(&input, sink),
            "stream-text" => {
                if let Some(sink) = sink {
                    sink.stdout(input.text.as_bytes())?;
                }
                json!({})
            }
            "stream-fail" => {
                if let Some(sink) = sink {
                    sink.stdout("before the end")?;
                }
                return Err(Error::new("failed after a chunk"));
            }
            "slow" => reach::sleep(input.millis),
            "time-left" => reach::time_left(host),
            "log" => {
                let level = level(&input.level)?;
                host.log(level, &input.message, &[("who", "acrobat".into()), ("n", 1.into())]);
                json!({ "success": true })
            }
            "print" => reach::print(&input.stream, &input.text, input.repeat.max(1))?,
            "read" => reach::read(&input.path)?,
            "write" => reach::write(&input.path, &input.text)?,
            #[cfg(target_family = "wasm")]
            "file-at-once" => files::at_once(&input.path, input.size)?,
            #[cfg(target_family = "wasm")]
            "files" => files::hoard(host, &input.path, input.chunks, &input.name, &input.text)?,
            #[cfg(target_family = "wasm")]
            "listings" => files::listings(&input.path, input.chunks, input.repeat.max(1))?,
            #[cfg(target_family = "wasm")]
            "touch" => files::touch(&input.path)?,
            "env" => reach::env(&input.name),
            "connect" => reach::connect(&input.address)?,
            #[cfg(target_family = "wasm")]
            "http" => http::get(&input.url)?,
            #[cfg(target_family = "wasm")]
            "http-headers" => http::headers(input.chunks, input.size)?,
            #[cfg(target_family = "wasm")]
            "http-methods" => http::methods(input.chunks, input.size)?,
            #[cfg(target_family = "wasm")]
            "http-authorities" => http::authorities(input.chunks, input.size)?,
            "panic" => panic!("{}", input.message),
            "panic-unread" => harm::panic_unread(&input.message, sink),
            "exit" => std::process::exit(input.code),
            "spin" => harm::spin(),
            "recurse" => json!({ "depth": harm::recurse(0) }),
            "hoard" => harm::hoard(input.mib),
            "big" => Value::from("x".repeat(input.bytes)),
            "invalid-json" => return Ok(Output::new(Json::from_text("{oops"))),
            "invalid-utf8" => return Ok(Output::new(harm::invalid_utf8())),
            other => return Err(Error::new(format!("unknown operation: {other}"))),
        };
        Ok(Output::new(data.into()))
    }
}

fn warn(input: &Input) -> Output {
    Output {
        warnings: vec!["first warning".to_owned(), "second warning".to_owned()],
        metadata: Some(json!({ "n": 1, "who": "acrobat" }).into()),
        streamed: input.streamed,
        ..Output::new(json!({ "success": true }).into())
    }
}

fn fail(input: Input) -> Error {
    let mut refusal = Refusal::new(input.message).exit_code(input.exit_code);
    for remark in input.diagnostics {
        let severity = match remark.severity.as_str() {
            "error" => Severity::Error,
            "warning" => Severity::Warning,
            _ => Severity::Invalid,
        };
        let Remark { summary, detail, attribute, .. } = remark;
        refusal = refusal.diagnostic(Diagnostic { severity, summary, detail, attribute });
    }
    refusal.into()
}

/// Writes `chunks` chunks of `size` bytes, the first of letters `a`, the next of letters `b` and so on
/// from `z` to `a`; after every `stderr_every`-th the line `chunk N` goes to stderr, counted from 1.
/// Between two chunks it sleeps `pause_millis`.
fn stream(input: &Input, sink: Option<&mut Sink<'_>>) -> Result<Output, Error> {
    let streamed = sink.is_some();
    if let Some(sink) = sink {
        let mut chunk = vec![0; input.size];
        for (n, letter) in (1..=input.chunks).zip((b'a'..=b'z').cycle()) {
            if n > 1 && input.pause_millis != 0 {
                reach::sleep(input.pause_millis);
            }
            chunk.fill(letter);
            sink.stdout(&chunk)?;
            if input.stderr_every != 0 && n % input.stderr_every == 0 {
                sink.stderr(format!("chunk {n}\n"))?;
            }
        }
    }
    let bytes = input.chunks.saturating_mul(input.size);
    Ok(Output { streamed, ..Output::new(json!({ "chunks": input.chunks, "bytes": bytes }).into()) })
}

fn level(name: &str) -> Result<Level, Error> {
    match name {
        "trace" => Ok(Level::Trace),
        "debug" => Ok(Level::Debug),
        "info" => Ok(Level::Info),
        "warn" => Ok(Level::Warn),
        "error" => Ok(Level::Error),
        other => Err(Error::new(format!("unknown level: {other}"))),
    }
}

/// Adds the text of every `rslvr` in a value.
fn resolvers(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| resolvers(item, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(resolver) if name == "rslvr" => found.push(resolver.clone()),
                    other => resolvers(other, found),
                }
            }
        }
        _ => {}
    }
}

portcullis_sdk::export!(Acrobat);

#[cfg(test)]
mod tests {
    use portcullis_sdk::{Channel, Unavailable};

    use super::*;

    fn check(input: &str, expected: Result<Value, Error>) {
        let request = Execute::new("acrobat", Json::from_text(input));
        let found = Acrobat::default().execute(&Host::from_service(&Unavailable), request);
        let found = found.map(|output| output.data.parse::<Value>().expect("what it returns is JSON"));
        assert_eq!(found, expected, "{input}");
    }

    #[test]
    fn it_does_what_it_is_asked() {
        check(r#"{"operation":"ok"}"#, Ok(json!({ "success": true })));
        check(r#"{"operation":"big","bytes":3}"#, Ok(json!("xxx")));
        check(r#"{"operation":"count"}"#, Ok(json!({ "count": 1 })));
        check(r#"{"operation":"time-left"}"#, Ok(json!({ "millis": null })));
        check(r#"{"operation":"configured"}"#, Ok(Value::Null));
        check(r#"{"operation":"fly"}"#, Err(Error::new("unknown operation: fly")));
    }

    #[test]
    fn it_fails_as_it_is_asked() {
        let input = r#"{"operation":"fail","message":"no","exitCode":7,
            "diagnostics":[{"severity":"warning","summary":"s","detail":"d","attribute":"a"},{}]}"#;
        let remark = Diagnostic::warning("s").detail("d").attribute("a");
        let refusal = Refusal::new("no").exit_code(7).diagnostic(remark).diagnostic(Diagnostic::default());
        check(input, Err(refusal.into()));
    }

    #[test]
    fn it_remembers_what_it_was_configured_with_and_refuses_to_be() {
        let acrobat = Acrobat::default();
        let host = Host::from_service(&Unavailable);
        let with = |settings: &str| Configuration {
            settings: Json::from_text(settings).fields("settings").expect("it is an object"),
            ..Configuration::default()
        };

        let refused = acrobat.configure(&host, "acrobat", with(r#"{"refuse":"not today"}"#));
        let taken = acrobat.configure(&host, "acrobat", with(r#"{"a":1}"#));
        let seen = acrobat
            .execute(&host, Execute::new("acrobat", Json::from_text(r#"{"operation":"configured"}"#)))
            .expect("it shows its configuration");

        assert_eq!(refused, Err(Error::new("not today")));
        assert_eq!(taken, Ok(()));
        assert_eq!(seen.data.parse::<Value>().expect("it is JSON")["settings"], json!({ "a": 1 }));
    }

    #[test]
    fn it_streams_letters_and_counts_them_on_stderr() {
        let mut seen = Vec::new();
        let mut write = |channel, chunk: &[u8]| {
            seen.push((channel, String::from_utf8_lossy(chunk).into_owned()));
            Ok(())
        };
        let input = Json::from_text(r#"{"operation":"stream","chunks":3,"size":2,"stderrEvery":2}"#);

        let output = Acrobat::default().execute_stream(
            &Host::from_service(&Unavailable),
            Execute::new("acrobat", input),
            &mut Sink::from_fn(&mut write),
        );

        let output = output.expect("it streams");
        assert!(output.streamed);
        assert_eq!(output.data.parse::<Value>().expect("it is JSON"), json!({ "chunks": 3, "bytes": 6 }));
        let expected = [
            (Channel::Stdout, "aa"),
            (Channel::Stdout, "bb"),
            (Channel::Stderr, "chunk 2\n"),
            (Channel::Stdout, "cc"),
        ];
        assert_eq!(seen, expected.map(|(channel, text)| (channel, text.to_owned())));
    }

    #[test]
    fn every_resolver_is_found_however_deep() {
        let inputs = json!({"z": {"rslvr": "last"}, "a": [{"rslvr": "first"}, {"b": {"rslvr": "second"}}],
            "rslvr": {"rslvr": "third"}, "m": {"rslvr": 4}});
        let mut found = Vec::new();
        resolvers(&inputs, &mut found);
        assert_eq!(found, ["first", "second", "third", "last"]);
    }
}
