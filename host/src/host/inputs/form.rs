//! The forms in which a value may be given: itself, or what stands for it.

use super::super::sentences::quote;
use super::super::text;
use super::ResolveError;

/// The form in which a value was given.
pub(super) struct Form<'a> {
    pub(super) literal: Option<&'a str>,
    resolver: Option<String>,
    expression: Option<String>,
    template: Option<String>,
}

impl<'a> Form<'a> {
    /// Reads it.
    pub(super) fn of(key: &str, value: &'a str) -> Result<Self, String> {
        let literal = |value: &'a str| Some(value).filter(|v| *v != "null");
        let bare = Self { literal: literal(value), resolver: None, expression: None, template: None };
        if !value.starts_with('{') {
            return Ok(bare);
        }
        let map = text::members(value).map_err(|e| e.to_string())?;
        let key = quote(key);
        let said = |form: &str, what: &str| match map.get(form) {
            Some(text) if text.starts_with('"') => Ok(Some(text::unquote(text))),
            Some(text) => Err(format!("property {key}: {form} must be {what}, got {}", text::go_type(text))),
            None => Ok(None),
        };
        let form = Self {
            literal: map.get("literal").and_then(literal),
            resolver: said("rslvr", "a string")?,
            expression: said("expr", "a string or Expression")?,
            template: said("tmpl", "a string or GoTemplatingContent")?,
        };
        let forms = ["literal", "rslvr", "expr", "tmpl"];
        Ok(if forms.iter().any(|f| map.get(f).is_some()) { form } else { bare })
    }

    /// Returns the reference to a resolver, the expression and the template, each if it is there.
    pub(super) fn texts(&self) -> [Option<&str>; 3] {
        [&self.resolver, &self.expression, &self.template].map(|t| t.as_deref().filter(|t| !t.is_empty()))
    }

    /// Refuses a property that is given in no form or in several.
    pub(super) fn one(&self, key: &str) -> Result<(), ResolveError> {
        let forms = usize::from(self.literal.is_some()) + self.texts().iter().flatten().count();
        let wrong = match forms {
            0 => "no input form specified (must provide one of: literal, rslvr, expr, tmpl)",
            1 => return Ok(()),
            _ => "multiple input forms specified (only one of literal, rslvr, expr, tmpl is allowed)",
        };
        Err(ResolveError(format!("property {}: {wrong}", quote(key))))
    }
}
