//! `portcullis inspect`: everything about one plugin.
//!
//! For people it is a page of sentences that ends with what to paste into a policy, or to change in one; the other
//! forms hold the same.

use std::ffi::OsString;
use std::fmt::Write as _;

use anyhow::anyhow;
use clap::Args;
use portcullis::component;
use portcullis::host::{FindError, Listed, Offers, Origin, Wanted, Wrapped};
use portcullis_contract::{BackendName, json_string, visible, visible_line};
use tokio::task::spawn_blocking;

use crate::describe::{self, Handler, Plugin, Provider, WrappedBy};
use crate::exit::{Exit, Failure};
use crate::output::{Format, print_or_end};
use crate::setup::{Personal, PluginArgs, wanted};
use crate::signals::Signals;
use crate::{Session, ending, errors, setup};

mod parameters;

/// Options of `inspect`.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Name of a provider or an auth handler, or path of a plugin's file (with a slash in it)
    #[arg(value_name = "NAME|FILE")]
    target: OsString,

    #[command(flatten)]
    plugins: PluginArgs,

    /// Form of the output: auto, table, json, yaml, quiet (default: table)
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

/// Runs the command.
pub(crate) async fn main(
    session: &Session,
    args: InspectArgs,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    let format = Format::parse(args.output.as_deref(), Format::Table)?;
    let host = setup::host(session, &args.plugins, &Personal::default())?;
    let wanted = wanted(&args.target)?;
    signals.listen()?;
    let looking = async {
        let listed = host.inspect(&wanted, args.plugins.describe()).await.map_err(errors::find)?;
        let imports = imports(&listed).await?;
        Ok::<_, Failure>((listed, imports))
    };
    let (listed, imports) = match ending::after(looking, &host, signals).await {
        Ok(looked) => looked?,
        Err(exit) => return Ok(exit),
    };
    let asked = match &wanted {
        Wanted::Named(name) => Some(name.as_str()),
        Wanted::File(..) => None,
    };
    let plugin = describe::plugin(&listed, asked, imports);
    let text = if format == Format::Table { page(&plugin) } else { format.show(&plugin)? };
    if let Some(exit) = print_or_end(text, signals).await? {
        return Ok(exit);
    }
    // What is known was printed, but a plugin that does not start is a failure all the same.
    Ok(if matches!(listed.offers, Offers::Failed(_)) { Exit::Failed } else { Exit::Done })
}

/// Returns what a plugin imports, if that is known for sure.
async fn imports(listed: &Listed) -> Result<Option<Vec<String>>, Failure> {
    match (listed.file.backend, &listed.wrapped) {
        (BackendName::Component, _) => {
            let path = listed.file.path.clone();
            let inspected = spawn_blocking(move || component::inspect(&path)).await?;
            let file = || Box::new(listed.file.clone());
            let component =
                inspected.map_err(|source| errors::find(FindError::Launch { file: file(), source }))?;
            if component.digest != listed.digest {
                return Err(anyhow!("{} changed while it was read", listed.file.path.display()).into());
            }
            Ok(Some(component.imports))
        }
        (BackendName::Process, Some(Wrapped { manifest, origin: Origin::Known })) => {
            Ok(Some(manifest.imports.clone()))
        }
        (BackendName::Process, _) => Ok(None),
    }
}

/// Writes the page that people read. What others wrote stands within lines of ours and never begins one.
fn page(plugin: &Plugin<'_>) -> String {
    let mut out = String::new();
    for provider in &plugin.providers {
        write_provider(&mut out, provider);
    }
    for handler in &plugin.auth_handlers {
        write_handler(&mut out, handler);
    }
    let _ = writeln!(out, "Plugin {}", visible_line(&plugin.plugin));
    let _ = writeln!(out, "  file    {}", visible_line(&plugin.path));
    let _ = writeln!(out, "  digest  {}", plugin.digest);
    let _ = writeln!(out, "  run as  {}", plugin.run_as);
    if let Some(wrapped) = &plugin.wrapped {
        let version = visible_line(&wrapped.portcullis);
        let _ = writeln!(out, "  wrapped {}, by portcullis {version}", wrapped.component);
    }
    let own = plugin.wrapped.as_ref().filter(|wrapped| wrapped.origin == WrappedBy::Known);
    let none = match own {
        Some(_) => "its own, which is part of the file",
        None => "none applies: nothing is granted",
    };
    let _ = writeln!(out, "  policy  {}", visible_line(plugin.policy.unwrap_or(none)));
    if !plugin.settings.is_empty() {
        let _ = writeln!(out, "  told    {}", visible_line(&plugin.settings.join(", ")));
    }
    if let Some(problem) = &plugin.problem {
        let _ = writeln!(out, "  problem {}", visible_line(problem));
    }
    if !plugin.also_offers.is_empty() {
        let _ = writeln!(out, "  offers  {} as well", visible_line(&plugin.also_offers.join(", ")));
    }
    if let Some(asks) = &plugin.could_ask_for {
        section(&mut out, "What it could ask for", asks);
    }
    section(&mut out, "What holds for it", &plugin.may);
    if !plugin.not_held.is_empty() {
        section(&mut out, "What cannot be held for it", &plugin.not_held);
    }
    out.push_str("\nLimits\n");
    for (name, amount) in &plugin.limits {
        let _ = writeln!(out, "  {name:<12}{amount}");
    }
    if own.is_some() {
        out.push_str(
            "\nWhat it may was decided when it was wrapped. Secrets and identities have to be granted here as well.\n",
        );
    }
    // A file has one table.
    let _ = match plugin.policy {
        Some(label) => {
            writeln!(out, "\nTo grant it more or less, change [plugin.{}] in the policy.", toml_key(label))
        }
        None => write!(
            out,
            "\nTo grant it something, write into a policy file:\n\n  [plugin.{}]\n  digests = [\"{}\"]\n{}",
            toml_key(&plugin.plugin),
            plugin.digest,
            could_grant(plugin.imports.as_deref()).map(|line| format!("  # {line}\n")).collect::<String>(),
        ),
    };
    visible(&out)
}

/// What lets a component ask for something, a line of a policy that grants it, and whether that holds for a native plugin.
const GRANTS: [(&str, &str, bool); 5] = [
    ("portcullis:plugin/secrets", r#"secrets = { read = ["app.*"], write = [] }"#, true),
    ("portcullis:plugin/identity", r#"identity = { handlers = ["github"], token = false }"#, true),
    ("wasi:cli/environment", r#"env = ["LANG"]"#, true),
    ("wasi:http/", r#"http = ["https://api.example"]"#, false),
    ("wasi:filesystem/", r#"fs = [{ host = "./out", guest = "/out", access = "read" }]"#, false),
];

/// Returns examples of what could be granted, in the form of a policy.
fn could_grant(imports: Option<&[String]>) -> impl Iterator<Item = &'static str> {
    let asked = move |(prefix, _, native): &(&str, &str, bool)| match imports {
        Some(imports) => imports.iter().any(|import| import.starts_with(prefix)),
        None => *native,
    };
    GRANTS.into_iter().filter(asked).map(|(_, line, _)| line)
}

fn write_provider(out: &mut String, provider: &Provider<'_>) {
    let _ = write!(out, "Provider {}", visible_line(provider.name));
    for (before, text) in [(" ", provider.version), (", ", provider.display_name)] {
        if !text.is_empty() {
            let _ = write!(out, "{before}{}", visible_line(text));
        }
    }
    for (is, text) in [(provider.deprecated, "deprecated"), (provider.beta, "beta")] {
        if is {
            let _ = write!(out, " ({text})");
        }
    }
    out.push('\n');
    if let Some(problem) = provider.problem {
        let _ = writeln!(out, "  cannot be used: {}", visible_line(problem));
    }
    for line in provider.description.lines() {
        let _ = writeln!(out, "  {line}");
    }
    if !provider.capabilities.is_empty() {
        let _ = writeln!(out, "  capabilities: {}", visible_line(&provider.capabilities.join(", ")));
    }
    let inputs = provider.schema.as_ref().map(|schema| parameters::of(schema.get())).unwrap_or_default();
    if !inputs.is_empty() {
        out.push_str("\nInputs\n");
        for line in inputs {
            let _ = writeln!(out, "  {line}");
        }
    }
    if !provider.writes.is_empty() {
        let writes: Vec<_> = provider.writes.iter().copied().collect();
        let _ = writeln!(out, "\nWrite operations: {}", visible_line(&writes.join(", ")));
    }
    if !provider.sensitive_fields.is_empty() {
        let _ = writeln!(out, "\nSensitive fields: {}", visible_line(&provider.sensitive_fields.join(", ")));
    }
    out.push('\n');
}

fn write_handler(out: &mut String, handler: &Handler<'_>) {
    let _ = write!(out, "Auth handler {}", visible_line(handler.name));
    if !handler.display_name.is_empty() {
        let _ = write!(out, ", {}", visible_line(handler.display_name));
    }
    out.push('\n');
    if let Some(problem) = handler.problem {
        let _ = writeln!(out, "  cannot be used: {}", visible_line(problem));
    }
    for (what, words) in [("flows", &handler.flows), ("capabilities", &handler.capabilities)] {
        if !words.is_empty() {
            let _ = writeln!(out, "  {what}: {}", visible_line(&words.join(", ")));
        }
    }
    out.push('\n');
}

fn section(out: &mut String, title: &str, lines: &[impl AsRef<str>]) {
    let _ = writeln!(out, "\n{title}");
    if lines.is_empty() {
        out.push_str("  nothing\n");
    }
    for line in lines {
        let _ = writeln!(out, "  - {}", visible_line(line.as_ref()));
    }
}

/// Returns a name as the key of a table.
fn toml_key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if bare { name.to_owned() } else { json_string(name) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use portcullis::policy::Policy;
    use portcullis_contract::Digest;

    use super::*;

    #[test]
    fn a_page_ends_with_what_to_paste_into_a_policy() {
        let plugin = Plugin {
            plugin: "a.b".to_owned(),
            path: "d/a.b.wasm".to_owned(),
            backend: "component".to_owned(),
            digest: "sha256:00".to_owned(),
            wrapped: None,
            policy: None,
            settings: vec!["mode", "a\nb"],
            run_as: "a thing".to_owned(),
            imports: Some(vec!["portcullis:plugin/secrets@0.1.0".to_owned()]),
            could_ask_for: Some(vec![]),
            also_offers: vec!["c"],
            may: vec!["may open no file".to_owned()],
            not_held: vec![],
            limits: BTreeMap::from([("memory", "64MiB".to_owned())]),
            providers: vec![],
            auth_handlers: vec![],
            problem: None,
        };
        let expected = "Plugin a.b\n  file    d/a.b.wasm\n  digest  sha256:00\n  run as  a thing\n  \
                        policy  none applies: nothing is granted\n  told    mode, a\\nb\n  offers  c as well\n\n\
                        What it could ask for\n  nothing\n\nWhat holds for it\n  \
                        - may open no file\n\nLimits\n  memory      64MiB\n\nTo grant it something, write into a \
                        policy file:\n\n  [plugin.\"a.b\"]\n  digests = [\"sha256:00\"]\n  \
                        # secrets = { read = [\"app.*\"], write = [] }\n";
        assert_eq!(page(&plugin), expected);
    }

    #[test]
    fn what_a_page_proposes_is_a_policy() {
        let lines = GRANTS.map(|(_, line, _)| line);
        assert!(could_grant(None).eq(
            ["secrets", "identity", "env"].map(|key| {
                *lines.iter().find(|line| line.starts_with(key)).expect("there is such a line")
            })
        ));
        let digest = Digest::from_sha256([7; 32]);
        let text = format!("[plugin.a]\ndigests = [\"{digest}\"]\n{}\n", lines.join("\n"));
        Policy::parse(&text, Path::new("policy.toml")).expect("each of them can be granted");
    }

    #[test]
    fn a_handler_without_a_name_for_people_has_its_own() {
        let mut out = String::new();
        let handler =
            Handler { name: "door", display_name: "", flows: vec![], capabilities: vec![], problem: None };
        write_handler(&mut out, &handler);
        assert_eq!(out, "Auth handler door\n\n");
    }

    #[test]
    fn what_a_plugin_says_of_itself_begins_no_line() {
        let mut out = String::new();
        let handler = Handler {
            name: "door",
            display_name: "Door\n\nWhat holds for it\n  - may open no file",
            flows: vec!["a\nb"],
            capabilities: vec![],
            problem: None,
        };
        write_handler(&mut out, &handler);
        let expected =
            "Auth handler door, Door\\n\\nWhat holds for it\\n  - may open no file\n  flows: a\\nb\n\n";
        assert_eq!(out, expected);
    }
}
