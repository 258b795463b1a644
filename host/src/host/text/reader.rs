//! The one reader of JSON text, which returns events: what begins and what ends.
//!
//! It checks every byte and decodes nothing: a key, a number or a string is handed over as it is written. The
//! open objects and arrays are kept on a stack of its own.

use std::collections::HashSet;

use super::{MAX_DEPTH, TextError, unquote};

/// What comes next in a text.
pub(super) enum Event<'a> {
    Open(Container),
    Close,
    Key(&'a str),
    Scalar(&'a str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Object,
    Array,
}

/// What has been opened: an object with the keys seen so far, or an array.
struct Level {
    keys: Option<HashSet<String>>,
    /// Whether nothing stands in it yet.
    empty: bool,
    /// Whether a key has been read whose value has not.
    keyed: bool,
}

/// Where the reading of a text has come.
pub(super) struct Reader<'a> {
    text: &'a str,
    /// Where the next byte is.
    pub(super) at: usize,
    /// Where the last token began.
    pub(super) token: usize,
    stack: Vec<Level>,
    begun: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, token: 0, stack: Vec::new(), begun: false }
    }

    /// Returns how much is open.
    pub(super) fn depth(&self) -> usize {
        self.stack.len()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T, TextError> {
        Err(TextError::Syntax { expected, at: self.at })
    }

    /// Reads on; `None` at the end of the text.
    pub(super) fn next(&mut self) -> Result<Option<Event<'a>>, TextError> {
        self.skip_space();
        let Some(level) = self.stack.last_mut() else {
            if self.begun {
                return if self.at == self.text.len() { Ok(None) } else { self.expected("the end") };
            }
            self.begun = true;
            return self.value().map(Some);
        };
        if level.keyed {
            level.keyed = false;
            return self.value().map(Some);
        }
        let first = std::mem::replace(&mut level.empty, false);
        let object = level.keys.is_some();
        let close = if object { b'}' } else { b']' };
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                self.stack.pop();
                return Ok(Some(Event::Close));
            }
            Some(b',') if !first => {
                self.at += 1;
                self.skip_space();
            }
            _ if first => {}
            _ => return self.expected(if object { "\",\" or \"}\"" } else { "\",\" or \"]\"" }),
        }
        if object { self.key().map(Some) } else { self.value().map(Some) }
    }

    fn key(&mut self) -> Result<Event<'a>, TextError> {
        if self.peek() != Some(b'"') {
            return self.expected("a key in double quotes");
        }
        let key = self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return self.expected("\":\"");
        }
        self.at += 1;
        if let Some(level) = self.stack.last_mut() {
            level.keyed = true;
            let said = unquote(key);
            if let Some(keys) = &mut level.keys
                && let Some(twice) = keys.replace(said)
            {
                return Err(TextError::Duplicate(twice));
            }
        }
        Ok(Event::Key(key))
    }

    fn value(&mut self) -> Result<Event<'a>, TextError> {
        self.skip_space();
        self.token = self.at;
        let container = match self.peek() {
            Some(b'{') => Container::Object,
            Some(b'[') => Container::Array,
            Some(b'"') => return self.string().map(Event::Scalar),
            Some(b't') => return self.word("true"),
            Some(b'f') => return self.word("false"),
            Some(b'n') => return self.word("null"),
            Some(b'-' | b'0'..=b'9') => return self.number(),
            _ => return self.expected("a value"),
        };
        if self.stack.len() == MAX_DEPTH {
            return Err(TextError::TooDeep);
        }
        self.at += 1;
        let keys = (container == Container::Object).then(HashSet::new);
        self.stack.push(Level { keys, empty: true, keyed: false });
        Ok(Event::Open(container))
    }

    fn word(&mut self, word: &'static str) -> Result<Event<'a>, TextError> {
        match self.text.get(self.at..self.at + word.len()) {
            Some(text) if text == word => {
                self.at += word.len();
                Ok(Event::Scalar(text))
            }
            _ => self.expected("true, false or null"),
        }
    }

    fn digits(&mut self) -> Result<(), TextError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.expected("a digit");
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Event<'a>, TextError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Event::Scalar(&self.text[start..self.at]))
    }

    fn string(&mut self) -> Result<&'a str, TextError> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.peek().is_some_and(|b| b.is_ascii_hexdigit()) {
                                    return self.expected("four hexadecimal digits");
                                }
                                self.at += 1;
                            }
                        }
                        _ => return self.expected("an escape"),
                    }
                }
                Some(0..0x20) => return self.expected("no bare control character in a string"),
                Some(_) => self.at += 1,
                None => return self.expected("the end of a string"),
            }
        }
        self.at += 1;
        Ok(&self.text[start..self.at])
    }
}
