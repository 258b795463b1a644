//! A plugin in the lines of `list`: one for each provider or auth handler that it offers.

use portcullis::host::{Listed, Offer, Offers};
use portcullis_contract::{BackendName, Descriptor, Grants, Kind, chain};
use serde::Serialize;

use super::{Terms, is_wrapped_elsewhere};
use crate::table::{self, or_dash};

/// A line of `list`: one provider or auth handler, or a plugin of which nobody knows what it offers.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    /// What `run` is told to run it, or `auth` to use it.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    backend: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    digest: String,
    may_touch: Vec<String>,
    plugin: String,
    path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
}

impl table::Row for Row {
    const HEADINGS: &'static [&'static str] =
        &["NAME", "KIND", "BACKEND", "VERSION", "DIGEST", "MAY TOUCH", "NOTE"];

    fn cells(&self) -> Vec<String> {
        vec![
            or_dash(&self.name),
            or_dash(self.kind.as_deref().unwrap_or_default()),
            self.backend.clone(),
            or_dash(&self.version),
            // Twelve digits tell files apart; a policy needs all of them, and `inspect` prints those.
            self.digest.chars().take("sha256:".len() + 12).collect(),
            self.may_touch.join(", "),
            self.note.clone(),
        ]
    }
}

/// Returns the lines of `list` for one plugin.
pub(crate) fn rows(listed: &Listed) -> Vec<Row> {
    let terms = Terms::of(listed);
    let touches = touches(terms.grants, terms.backend);
    let row = |name: &str, kind: Option<Kind>, version: &str, mut note: String| {
        if is_wrapped_elsewhere(listed) {
            let before = if note.is_empty() { "" } else { "; " };
            note = format!("{note}{before}wrapped elsewhere");
        }
        Row {
            name: name.to_owned(),
            kind: kind.map(|kind| kind.to_string()),
            backend: listed.file.backend.to_string(),
            version: version.to_owned(),
            digest: listed.digest.to_string(),
            may_touch: touches.clone(),
            plugin: listed.file.name.to_string(),
            path: listed.file.path.display().to_string(),
            note,
        }
    };
    let the_plugin = |kind: Option<Kind>, note: String| vec![row(listed.file.name.as_str(), kind, "", note)];
    match &listed.offers {
        Offers::NotYetDescribed => the_plugin(None, "not yet described".to_owned()),
        Offers::Failed(error) => the_plugin(None, chain(error)),
        Offers::AuthHandlers(offers) if offers.is_empty() => {
            the_plugin(Some(Kind::AuthHandler), "offers nothing".to_owned())
        }
        Offers::AuthHandlers(offers) => offers
            .iter()
            .map(|offer| {
                let hidden = offer.taken_by.as_ref().map(|path| format!("hidden by {}", path.display()));
                let note = offer.problem.clone().or(hidden).unwrap_or_default();
                row(offer.info.name.as_str(), Some(Kind::AuthHandler), "", note)
            })
            .collect(),
        Offers::Providers(offers) if offers.is_empty() => {
            the_plugin(Some(Kind::Provider), "offers nothing".to_owned())
        }
        Offers::Providers(offers) => offers
            .iter()
            .map(|offer| match &offer.descriptor {
                Ok(descriptor) => {
                    let note = note(offer, descriptor);
                    row(&descriptor.name, Some(Kind::Provider), &descriptor.version, note)
                }
                Err(problem) => row(offer.advertised.as_str(), Some(Kind::Provider), "", problem.clone()),
            })
            .collect(),
    }
}

fn note(offer: &Offer, descriptor: &Descriptor) -> String {
    let mut notes = Vec::new();
    if let Some(path) = &offer.taken_by {
        notes.push(format!("hidden by {}", path.display()));
    }
    if descriptor.deprecated {
        notes.push("deprecated".to_owned());
    }
    if descriptor.beta {
        notes.push("beta".to_owned());
    }
    notes.join(", ")
}

/// Says in a few words what a plugin may touch.
fn touches(grants: &Grants, backend: BackendName) -> Vec<String> {
    let mut touches = Vec::new();
    if backend == BackendName::Process {
        touches.push("all that its user may".to_owned());
    }
    let mut some = |count: usize, what: &str| {
        if count > 0 {
            touches.push(what.to_owned());
        }
    };
    let Grants { secrets, identity, http, fs, env } = grants;
    some(secrets.read.len() + secrets.write.len(), "secrets");
    some(identity.as_ref().map_or(0, |identity| identity.handlers.len()), "identity");
    if backend == BackendName::Component {
        some(http.len(), "http");
        some(fs.len(), "files");
    }
    some(env.len(), "env");
    if touches.is_empty() {
        touches.push("nothing".to_owned());
    }
    touches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_native_plugin_is_never_said_to_touch_nothing() {
        assert_eq!(touches(&Grants::default(), BackendName::Process), ["all that its user may"]);
        assert_eq!(touches(&Grants::default(), BackendName::Component), ["nothing"]);
        let env = Grants { env: vec!["LANG".to_owned()], ..Grants::default() };
        assert_eq!(touches(&env, BackendName::Component), ["env"]);
    }
}
