//! The patterns of a schema, rewritten so that our validator reads them as upstream does.
//!
//! Upstream's patterns are Go's regular expressions; our validator takes ECMAScript's. What the two read differently is
//! rewritten before the validator sees it:
//!
//! - `\s` and `\b`, which are ASCII in Go;
//! - the dot, which in Go stops at `\n` only, and with the flag `s` at nothing;
//! - what ECMAScript does not know: `[[:alpha:]]`, `\Q…\E`, `\A`, `\z`, `\a`, `\101`, `\x{41}`, `\pL`, `(?P<name>…)`, and flags
//!   for the rest of a group;
//! - what stands for itself in Go: `\<`, a brace that counts nothing, and a hyphen behind a class.
//!
//! The walk knows just enough of Go's syntax for that. It refuses nothing: what is no pattern the validator refuses.

use std::collections::HashMap;
use std::mem;

use jsonschema::Draft;
use serde_json::Value;

/// The characters of a class, in order.
type Class = &'static [(u8, u8)];

const SPACE: Class = &[(b'\t', b'\n'), (0xc, b'\r'), (b' ', b' ')];

/// Writes the patterns of a schema anew. Returns what was written, with what had stood there.
pub(super) fn rewrite(schema: &mut Value, draft: Draft) -> HashMap<String, String> {
    let mut rewriting = Rewriting { draft, originals: HashMap::new() };
    rewriting.schema(schema);
    rewriting.originals
}

struct Rewriting {
    draft: Draft,
    originals: HashMap<String, String>,
}

impl Rewriting {
    /// Goes through a part of a schema. Recursion is bounded: [`tree`](portcullis_contract::tree) refuses what nests deep.
    fn schema(&mut self, part: &mut Value) {
        match part {
            Value::Object(keywords) => {
                if self.draft == Draft::Draft202012 {
                    // Upstream knows it in draft 7 alone; our validator, in either.
                    keywords.remove("dependencies");
                }
                for (keyword, value) in keywords.iter_mut() {
                    self.keyword(keyword, value);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.schema(item)),
            _ => {}
        }
    }

    fn keyword(&mut self, keyword: &str, value: &mut Value) {
        match (keyword, value) {
            // Values of inputs, and no schemas.
            ("const" | "default" | "enum" | "examples", _) => {}
            ("pattern", Value::String(pattern)) => *pattern = self.pattern(pattern),
            (
                "properties" | "$defs" | "definitions" | "dependencies" | "dependentSchemas",
                Value::Object(named),
            ) => {
                named.values_mut().for_each(|schema| self.schema(schema));
            }
            ("patternProperties", Value::Object(named)) => {
                for (pattern, mut schema) in mem::take(named) {
                    self.schema(&mut schema);
                    let mut written = self.pattern(&pattern);
                    // Two that mean the same both hold.
                    while named.contains_key(&written) {
                        written = format!("(?:{written})");
                    }
                    named.insert(written, schema);
                }
            }
            (_, value) => self.schema(value),
        }
    }

    fn pattern(&mut self, pattern: &str) -> String {
        let written = Walk::new(pattern, self.draft).write();
        if written != pattern {
            self.originals.insert(written.clone(), pattern.to_owned());
        }
        written
    }
}

/// The flags of a part of a pattern. The fourth, `U`, makes no difference to whether something matches.
#[derive(Clone, Copy, Default)]
struct Flags {
    i: bool,
    m: bool,
    s: bool,
}

impl Flags {
    /// Returns these as changed by what stands between `(?` and its end, if that is flags.
    fn changed(mut self, text: &str) -> Option<Self> {
        let (on, off) = match text.split_once('-') {
            Some((on, off)) => (on, Some(off)),
            None => (text, None),
        };
        if off == Some("") {
            return None;
        }
        for (flags, value) in [(on, true), (off.unwrap_or_default(), false)] {
            for flag in flags.chars() {
                match flag {
                    'i' => self.i = value,
                    'm' => self.m = value,
                    's' => self.s = value,
                    'U' => {}
                    _ => return None,
                }
            }
        }
        Some(self)
    }

    /// Returns how a group begins in which these hold, where others do. What `s` says is said by how dots are written.
    fn group(self, others: Self) -> String {
        let flags = |here: Self, there: Self| {
            let only_here = [('i', here.i && !there.i), ('m', here.m && !there.m)];
            only_here.into_iter().filter(|(_, is_so)| *is_so).map(|(flag, _)| flag).collect::<String>()
        };
        match (flags(self, others), flags(others, self)) {
            (on, off) if off.is_empty() => format!("(?{on}:"),
            (on, off) => format!("(?{on}-{off}:"),
        }
    }
}

/// A group that is open, or the whole.
#[derive(Clone, Copy, Default)]
struct Group {
    /// What holds from its beginning on.
    begun: Flags,
    /// What holds now. If it differs, the rest of this alternative is written as a group of its own.
    flags: Flags,
}

impl Group {
    fn of(flags: Flags) -> Self {
        Self { begun: flags, flags }
    }

    /// Returns how the group within it begins, if there is one.
    fn inner(self) -> Option<String> {
        let group = self.flags.group(self.begun);
        (group != "(?:").then_some(group)
    }
}

/// A pattern on its way.
struct Walk<'a> {
    draft: Draft,
    rest: &'a str,
    out: String,
    /// The innermost group, and those around it.
    group: Group,
    around: Vec<Group>,
}

impl<'a> Walk<'a> {
    fn new(pattern: &'a str, draft: Draft) -> Self {
        Self { draft, rest: pattern, out: String::new(), group: Group::default(), around: Vec::new() }
    }

    fn write(mut self) -> String {
        while let Some(c) = self.take() {
            match c {
                '\\' => self.escape(),
                '.' => self.out.push_str(if self.group.flags.s { r"[\d\D]" } else { r"[^\n]" }),
                '[' => self.class(),
                '(' => self.open(),
                '|' => {
                    self.end_inner();
                    self.out.push('|');
                    self.begin_inner();
                }
                ')' => {
                    self.end_inner();
                    self.out.push(')');
                    if let Some(around) = self.around.pop() {
                        self.group = around;
                    }
                }
                '{' if counts(self.rest) => {
                    self.out.push('{');
                    self.braced();
                }
                '{' | '}' | ']' => self.out.extend(['\\', c]),
                c => self.out.push(c),
            }
        }
        self.end_inner();
        self.out
    }

    /// Writes what begins with a parenthesis, up to what is in the group.
    fn open(&mut self) {
        let flags = self.group.flags;
        let text = self.rest.strip_prefix('?').unwrap_or_default();
        let end = text.find(|c: char| !matches!(c, 'i' | 'm' | 's' | 'U' | '-')).unwrap_or(text.len());
        let (text, after) = text.split_at(end);
        let mut inside = Group::of(flags);
        match (flags.changed(text), after.strip_prefix(')'), after.strip_prefix(':')) {
            (Some(changed), Some(after), _) => {
                // They hold for the rest of the group that they stand in.
                self.rest = after;
                self.end_inner();
                self.group.flags = changed;
                return self.begin_inner();
            }
            (Some(changed), _, Some(after)) => {
                self.rest = after;
                self.out.push_str(&changed.group(flags));
                inside = Group::of(changed);
            }
            _ => match self.rest.strip_prefix("?P<") {
                Some(after) => {
                    self.rest = after;
                    self.out.push_str("(?<");
                }
                None => self.out.push('('),
            },
        }
        self.around.push(mem::replace(&mut self.group, inside));
    }

    fn begin_inner(&mut self) {
        self.out.extend(self.group.inner());
    }

    fn end_inner(&mut self) {
        if self.group.inner().is_some() {
            self.out.push(')');
        }
    }

    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let taken = chars.next();
        self.rest = chars.as_str();
        taken
    }

    /// Writes what begins with a backslash outside of a class.
    fn escape(&mut self) {
        match self.take() {
            Some('s') => self.out.push_str(&format!("[{}]", written(SPACE))),
            Some('S') => self.out.push_str(&format!("[^{}]", written(SPACE))),
            // The meta-schema of draft-07 takes no pattern that ECMAScript would not.
            Some(c @ ('b' | 'B')) if !matches!(self.draft, Draft::Draft7) => {
                self.out.push_str(&format!(r"(?-u:\{c})"));
            }
            Some('A') => self.out.push_str("(?-m:^)"),
            Some('z') => self.out.push_str("(?-m:$)"),
            Some('Q') => {
                let (literal, after) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
                self.out.push_str(&regex::escape(literal));
                self.rest = after;
            }
            c => self.plain_escape(c),
        }
    }

    fn plain_escape(&mut self, escaped: Option<char>) {
        if let Some(number) = self.octal(escaped) {
            return self.out.push_str(&format!(r"\u{number:04x}"));
        }
        match escaped {
            Some('a') => self.out.push_str(r"\x07"),
            // With a backslash our engine takes them for the bounds of words.
            Some(c @ ('<' | '>')) => self.out.push(c),
            Some('x') if self.rest.starts_with('{') => {
                self.out.push_str(r"\u");
                self.braced();
            }
            Some(c @ ('p' | 'P')) => {
                self.out.extend(['\\', c]);
                if self.rest.starts_with('{') {
                    self.braced();
                } else if let Some(name) = self.take() {
                    self.out.extend(['{', name, '}']);
                }
            }
            escaped => {
                self.out.push('\\');
                self.out.extend(escaped);
            }
        }
    }

    /// Reads on in an octal number, if what was escaped begins one. A single digit other than 0 would be a
    /// backreference, which neither Go nor our engine has.
    fn octal(&mut self, escaped: Option<char>) -> Option<u32> {
        let next = |walk: &Self| walk.rest.chars().next().and_then(|c| c.to_digit(8));
        let mut number = escaped?.to_digit(8)?;
        if number > 0 {
            next(self)?;
        }
        for _ in 0..2 {
            let Some(digit) = next(self) else { break };
            self.take();
            number = 8 * number + digit;
        }
        Some(number)
    }

    /// Writes on to the end of a brace.
    fn braced(&mut self) {
        let end = self.rest.find('}').map_or(self.rest.len(), |end| end + 1);
        let (braced, after) = self.rest.split_at(end);
        self.out.push_str(braced);
        self.rest = after;
    }

    /// Writes a class whose bracket was read.
    fn class(&mut self) {
        self.out.push('[');
        for (first, written) in [('^', "^"), (']', r"\]")] {
            if let Some(after) = self.rest.strip_prefix(first) {
                self.rest = after;
                self.out.push_str(written);
            }
        }
        while let Some(c) = self.take() {
            let several = match c {
                '\\' => {
                    let escaped = self.take();
                    match escaped {
                        Some('s') => self.out.push_str(&written(SPACE)),
                        Some('S') => self.out.push_str(&others(SPACE)),
                        escaped => self.plain_escape(escaped),
                    }
                    matches!(escaped, Some('d' | 'D' | 'p' | 'P' | 's' | 'S' | 'w' | 'W'))
                }
                '[' => {
                    let named = self.named();
                    self.out.push_str(named.as_deref().unwrap_or("["));
                    named.is_some()
                }
                ']' => {
                    self.out.push(']');
                    return;
                }
                c => {
                    self.out.push(c);
                    false
                }
            };
            // From several characters no range goes on.
            if several
                && let Some(after) = self.rest.strip_prefix('-')
                && !after.starts_with(']')
            {
                self.rest = after;
                self.out.push_str(r"\-");
            }
        }
    }

    /// Reads on behind the bracket of `[:alpha:]` or `[:^alpha:]`, if it is one.
    fn named(&mut self) -> Option<String> {
        let (name, after) = self.rest.strip_prefix(':')?.split_once(":]")?;
        let named = match name.strip_prefix('^') {
            Some(name) => others(class_of(name)?),
            None => written(class_of(name)?),
        };
        self.rest = after;
        Some(named)
    }
}

/// Tells whether the brace before this text counts how often something comes. In Go any other stands for itself.
fn counts(text: &str) -> bool {
    let is_count = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits && (text == "0" || !text.starts_with('0'))
    };
    let Some((counts, _)) = text.split_once('}') else { return false };
    let (least, most) = counts.split_once(',').unwrap_or((counts, counts));
    is_count(least) && (most.is_empty() || is_count(most))
}

fn class_of(name: &str) -> Option<Class> {
    Some(match name {
        "alnum" => &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')],
        "alpha" => &[(b'A', b'Z'), (b'a', b'z')],
        "ascii" => &[(0, 0x7f)],
        "blank" => &[(b'\t', b'\t'), (b' ', b' ')],
        "cntrl" => &[(0, 0x1f), (0x7f, 0x7f)],
        "digit" => &[(b'0', b'9')],
        "graph" => &[(b'!', b'~')],
        "lower" => &[(b'a', b'z')],
        "print" => &[(b' ', b'~')],
        "punct" => &[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')],
        "space" => &[(b'\t', b'\r'), (b' ', b' ')],
        "upper" => &[(b'A', b'Z')],
        "word" => &[(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')],
        "xdigit" => &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')],
        _ => return None,
    })
}

/// Writes the characters of a class, without brackets.
fn written(class: &[(u8, u8)]) -> String {
    class.iter().map(|(first, last)| format!(r"\x{first:02x}-\x{last:02x}")).collect()
}

/// Writes all characters that are not in a class.
fn others(class: Class) -> String {
    let mut next = 0;
    let mut others = Vec::new();
    for (first, last) in class {
        if next < *first {
            others.push((next, first - 1));
        }
        next = last + 1;
    }
    if next < 0x80 {
        others.push((next, 0x7f));
    }
    written(&others) + "\u{80}-\u{10ffff}"
}
