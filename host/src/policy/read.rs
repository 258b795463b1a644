//! Reads the text of a policy.
//!
//! All problems are collected, each with its place, so that a person can mend them at once. A policy with any
//! problem is refused. Nothing is opened or looked up here: whether a directory exists shows when a plugin is
//! started.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use portcullis_contract::{
    Access, Digest, Environment, FsGrant, IdentityGrant, Isolation, Json, LimitName, Limits, RunAs,
    SecretGrant, Settings, Stdin,
};
use toml::de::DeTable;

use super::values::{
    Found, Value, bytes, count, guest_path, instances, json, parsed, secret, table, text, time, variable,
    word, wrong,
};
use super::{PluginPolicy, Policy, Problems};
use crate::names::nearest;

/// How many problems are reported at once. A guess; whoever has more can mend these first.
const PROBLEMS_SHOWN: usize = 20;

/// Reads a policy, which was read from `file`. Relative paths in it start in `base`.
pub(super) fn read(text: &str, file: &Path, base: &Path) -> Result<Policy, Problems> {
    let mut reader = Reader { base, found: Vec::new() };
    let mut policy = Policy::default();
    match DeTable::parse(text) {
        Ok(table) => reader.policy(table.get_ref(), &mut policy),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            reader.found.push(Found { at, text: error.message().to_owned() });
        }
    }
    if reader.found.is_empty() {
        return Ok(policy);
    }
    reader.found.sort_by_key(|found| found.at);
    let more = reader.found.len().saturating_sub(PROBLEMS_SHOWN);
    let problems = reader.found.into_iter().take(PROBLEMS_SHOWN).map(|found| found.place(text)).collect();
    Err(Problems { path: file.to_owned(), problems, more })
}

/// Says where a file stops being text.
pub(super) fn no_text(bytes: &[u8], file: &Path) -> Problems {
    let before = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let found = Found { at: before.len(), text: "a policy is text in UTF-8, and this is none".to_owned() };
    Problems { path: file.to_owned(), problems: vec![found.place(before)], more: 0 }
}

/// Digests, each with its place.
type Digests = Vec<(Digest, Range<usize>)>;

struct Reader<'b> {
    base: &'b Path,
    found: Vec<Found>,
}

impl Reader<'_> {
    fn policy(&mut self, top: &DeTable<'_>, policy: &mut Policy) {
        let mut labels = Vec::new();
        self.keys(top, "a policy", &["plugin", "trusted-dirs"], |this, key, value| {
            if key == "trusted-dirs" {
                policy.trusted_dirs = this.list(value, |this, value| this.path(value))?;
                return Ok(());
            }
            for (label, value) in table(value)? {
                let span = label.span();
                match this.plugin(label.get_ref(), span.clone(), value) {
                    Ok(plugin) => labels.push((span.start, plugin)),
                    Err(found) => this.found.push(found),
                }
            }
            Ok(())
        });
        // Of two tables with the same digest the later one is the mistake.
        labels.sort_by_key(|(at, _)| *at);
        let mut first: HashMap<Digest, String> = HashMap::new();
        for (_, (plugin, digests)) in &labels {
            for (digest, span) in digests {
                if let Some(other) = first.insert(*digest, plugin.label.clone()) {
                    let text = format!(
                        "{digest} stands in [{}] already; a file has one entry, so put both together or \
                         delete one",
                        table_name(&other)
                    );
                    self.found.push(Found::new(span.clone(), text));
                }
            }
        }
        labels.sort_by(|(_, (a, _)), (_, (b, _))| a.label.cmp(&b.label));
        for (at, (_, (plugin, _))) in labels.into_iter().enumerate() {
            policy.by_digest.extend(plugin.digests.iter().map(|digest| (*digest, at)));
            policy.plugins.push(plugin);
        }
    }

    fn plugin(
        &mut self,
        label: &str,
        label_span: Range<usize>,
        value: &Value<'_>,
    ) -> Result<(PluginPolicy, Digests), Found> {
        const KEYS: [&str; 12] = [
            "digests",
            "secrets",
            "identity",
            "http",
            "fs",
            "env",
            "instances",
            "isolation",
            "environment",
            "stdin",
            "limits",
            "settings",
        ];
        let place = format!("[{}]", table_name(label));
        let mut digests = Vec::new();
        let mut named = false;
        let mut plugin = PluginPolicy { label: label.to_owned(), ..PluginPolicy::default() };
        let PluginPolicy { grants, limits, run_as, settings, .. } = &mut plugin;
        self.keys(table(value)?, &place, &KEYS, |this, key, value| {
            match key {
                "digests" => {
                    named = true;
                    digests = this.list(value, |_, v| Ok((parsed::<Digest>(v)?, v.span())))?;
                    if value.get_ref().as_array().is_some_and(|list| list.is_empty()) {
                        return Err(no_digests(value.span(), &place));
                    }
                }
                "secrets" => grants.secrets = this.secrets(value, &place)?,
                "identity" => grants.identity = Some(this.identity(value, &place)?),
                "http" => grants.http = this.list(value, |_, v| parsed(v))?,
                "fs" => grants.fs = this.directories(value, &place)?,
                "env" => grants.env = this.list(value, |_, v| variable(v))?,
                "limits" => this.limits(value, label, limits)?,
                "settings" => *settings = this.settings(value)?,
                _ => how_to_run(key, value, run_as)?,
            }
            Ok(())
        });
        if !named {
            self.found.push(no_digests(label_span, &place));
        }
        plugin.digests = digests.iter().map(|(digest, _)| *digest).collect();
        Ok((plugin, digests))
    }

    fn secrets(&mut self, value: &Value<'_>, place: &str) -> Result<SecretGrant, Found> {
        let mut grant = SecretGrant::default();
        self.keys(table(value)?, &format!("secrets of {place}"), &["read", "write"], |this, key, value| {
            let patterns = this.list(value, |_, v| secret(v))?;
            *(if key == "read" { &mut grant.read } else { &mut grant.write }) = patterns;
            Ok(())
        });
        Ok(grant)
    }

    fn identity(&mut self, value: &Value<'_>, place: &str) -> Result<IdentityGrant, Found> {
        let mut grant = IdentityGrant::default();
        let mut named = false;
        let place = format!("identity of {place}");
        self.keys(table(value)?, &place, &["handlers", "token"], |this, key, value| {
            if key == "token" {
                grant.token = value.get_ref().as_bool().ok_or_else(|| wrong(value, "true or false"))?;
                return Ok(());
            }
            named = true;
            grant.handlers = this.list(value, |_, v| match text(v)? {
                "" => Err(Found::new(v.span(), "an auth handler has a name; name the default one, too")),
                name if name.contains('*') => {
                    let text = format!("{name:?} names no auth handler; write each name out, without *");
                    Err(Found::new(v.span(), text))
                }
                name => Ok(name.to_owned()),
            })?;
            Ok(())
        });
        if !named {
            let text = format!("{place} names no handlers; add handlers = [\"NAME\"]");
            return Err(Found::new(value.span(), text));
        }
        Ok(grant)
    }

    fn directories(&mut self, value: &Value<'_>, place: &str) -> Result<Vec<FsGrant>, Found> {
        let place = format!("fs of {place}");
        let spanned = self.list(value, |this, value| {
            let (mut host, mut guest, mut access) = (None, None, None);
            let before = this.found.len();
            this.keys(table(value)?, &place, &["host", "guest", "access"], |this, key, value| {
                match key {
                    "host" => host = Some(this.path(value)?),
                    "guest" => guest = Some(guest_path(value)?),
                    _ => {
                        let words = [("read", Access::Read), ("write", Access::Write)];
                        access = Some(word(value, &words)?);
                    }
                }
                Ok(())
            });
            match (host, guest, access) {
                (Some(host), Some(guest), Some(access)) => {
                    Ok(Some((FsGrant { host, guest, access }, value.span())))
                }
                // Values that are wrong were reported already, and are not missing.
                _ if this.found.len() > before => Ok(None),
                (host, guest, _) => {
                    let key = if host.is_none() {
                        "host"
                    } else if guest.is_none() {
                        "guest"
                    } else {
                        "access"
                    };
                    let text = format!("{place} lacks {key:?}; a directory has host, guest and access");
                    Err(Found::new(value.span(), text))
                }
            }
        })?;
        let (mut grants, mut guests) = (Vec::new(), HashSet::new());
        for (grant, span) in spanned.into_iter().flatten() {
            if !guests.insert(grant.guest.clone()) {
                let text = format!("{:?} is given to the guest twice in {place}", grant.guest);
                self.found.push(Found::new(span, text));
            }
            grants.push(grant);
        }
        Ok(grants)
    }

    fn limits(&mut self, value: &Value<'_>, label: &str, limits: &mut Limits) -> Result<(), Found> {
        let place = format!("[{}.limits]", table_name(label));
        let known = LimitName::ALL.map(LimitName::key);
        self.keys(table(value)?, &place, &known, |_, key, value| {
            match key {
                "memory" => limits.memory = Some(bytes(value)?),
                "cpu" => limits.cpu = Some(time(value)?),
                "wall" => limits.wall = Some(time(value)?),
                "message" => limits.message = Some(bytes(value)?),
                "output" => limits.output = Some(bytes(value)?),
                "handles" => limits.handles = Some(count(value)?),
                _ => limits.concurrency = Some(count(value)?),
            }
            Ok(())
        });
        Ok(())
    }

    /// Reads a plugin's settings. Only its author knows their names, so any are taken.
    fn settings(&mut self, value: &Value<'_>) -> Result<Settings, Found> {
        let mut settings = Settings::new();
        for (name, value) in table(value)? {
            match json(value) {
                Ok(json) => {
                    settings.insert(name.get_ref().clone().into_owned(), Json::from_text(json.to_string()));
                }
                Err(found) => self.found.push(found),
            }
        }
        Ok(settings)
    }

    /// Takes each known key of a table to `each`, and reports the unknown ones and what `each` says.
    fn keys<'v, 't>(
        &mut self,
        table: &'v DeTable<'t>,
        place: &str,
        known: &[&str],
        mut each: impl FnMut(&mut Self, &str, &'v Value<'t>) -> Result<(), Found>,
    ) {
        for (key, value) in table {
            let outcome = if known.contains(&key.get_ref().as_ref()) {
                each(self, key.get_ref(), value)
            } else {
                Err(unknown(key.get_ref(), key.span(), place, known))
            };
            self.found.extend(outcome.err());
        }
    }

    /// Reads a list; entries that are wrong are reported and left out.
    fn list<'v, 't, T>(
        &mut self,
        value: &'v Value<'t>,
        mut each: impl FnMut(&mut Self, &'v Value<'t>) -> Result<T, Found>,
    ) -> Result<Vec<T>, Found> {
        let Some(values) = value.get_ref().as_array() else { return Err(wrong(value, "a list")) };
        let mut list = Vec::new();
        for value in values.iter() {
            match each(self, value) {
                Ok(entry) => list.push(entry),
                Err(found) => self.found.push(found),
            }
        }
        Ok(list)
    }

    fn path(&mut self, value: &Value<'_>) -> Result<PathBuf, Found> {
        let path = text(value)?;
        let wrong = |text: &str| Err(Found::new(value.span(), text));
        if path.is_empty() {
            return wrong("a path is not empty; write \".\" for the directory of the policy");
        }
        if path.contains('\0') {
            return wrong("a path has no NUL character");
        }
        if path == "~" || path.starts_with("~/") {
            return wrong("\"~\" is not replaced here; write the path out");
        }
        let path: PathBuf = self.base.join(path);
        // `components` drops every "." and trailing slash. ".." stays: a link may stand before it.
        Ok(path.components().collect())
    }
}

fn how_to_run(key: &str, value: &Value<'_>, run_as: &mut RunAs) -> Result<(), Found> {
    match key {
        "instances" => run_as.instances = instances(value)?,
        "isolation" => {
            run_as.isolation =
                word(value, &[("sandbox", Isolation::Sandbox), ("process", Isolation::Process)])?
        }
        "environment" => {
            let words = [("usual", Environment::Usual), ("inherit", Environment::Inherit)];
            run_as.environment = word(value, &words)?;
        }
        _ => run_as.stdin = word(value, &[("null", Stdin::Null), ("inherit", Stdin::Inherit)])?,
    }
    Ok(())
}

/// Writes the name of a plugin's table as TOML has it.
fn table_name(label: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !label.is_empty() && label.bytes().all(bare) {
        format!("plugin.{label}")
    } else {
        format!("plugin.{label:?}")
    }
}

fn no_digests(span: Range<usize>, place: &str) -> Found {
    Found::new(
        span,
        format!(
            "{place} applies to no file, because its name is only a label; add digests = [\"sha256:...\"], \
             which `portcullis inspect FILE` prints"
        ),
    )
}

fn unknown(key: &str, span: Range<usize>, place: &str, known: &[&str]) -> Found {
    let near = nearest(key, known.iter().copied(), 2).filter(|(far, k)| *far <= k.len().div_ceil(2));
    let advice = match near {
        Some((_, near)) => format!("did you mean {near:?}?"),
        None => format!("known are {}", known.join(", ")),
    };
    Found::new(span, format!("unknown key {key:?} in {place}; {advice}"))
}
