//! What a guest is told and asked.

use portcullis_contract::{Configuration, Context, Iteration, Json, Settings, Solution};
use serde::de::IgnoredAny;

use crate::component::bindings::portcullis::plugin::types;

/// Writes settings as one JSON object. The values go in as they are; one that is no JSON goes in as a text, so that it
/// is wrong by itself and spoils none of the others.
fn settings_text(settings: &Settings) -> String {
    let mut text = String::from("{");
    for (key, value) in settings {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(key.as_str()).to_string());
        text.push(':');
        match serde_json::from_str(value.as_str()) {
            Ok(IgnoredAny) => text.push_str(value.as_str()),
            Err(_) => text.push_str(&serde_json::Value::from(value.as_str()).to_string()),
        }
    }
    text.push('}');
    text
}

impl From<&Configuration> for types::Configuration {
    fn from(from: &Configuration) -> Self {
        let Configuration { quiet, no_color, binary_name, settings, profile, prompts_for_response } = from;
        Self {
            quiet: *quiet,
            no_color: *no_color,
            binary_name: binary_name.clone(),
            settings: settings_text(settings),
            profile: profile.clone(),
            prompts_for_response: *prompts_for_response,
        }
    }
}

impl From<Context> for types::ExecutionContext {
    fn from(from: Context) -> Self {
        let Context {
            context,
            dry_run,
            mode,
            working_directory,
            output_directory,
            conflict_strategy,
            backup,
            iteration,
            parameters,
            solution,
            auth_profile,
            settings,
        } = from;
        Self {
            context: context.map(Json::into_string),
            dry_run,
            mode: mode.map(|mode| mode.as_str().to_owned()),
            working_directory,
            output_directory,
            conflict_strategy,
            backup,
            iteration: iteration.map(Into::into),
            parameters: parameters.map(Json::into_string),
            solution: solution.map(Into::into),
            auth_profile,
            settings: (!settings.is_empty()).then(|| settings_text(&settings)),
        }
    }
}

impl From<Iteration> for types::Iteration {
    fn from(from: Iteration) -> Self {
        let Iteration { item, index, item_alias, index_alias } = from;
        Self { item: item.map(Json::into_string), index, item_alias, index_alias }
    }
}

impl From<Solution> for types::Solution {
    fn from(from: Solution) -> Self {
        let Solution { name, version, display_name, description, category, tags, source } = from;
        Self { name, version, display_name, description, category, tags, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_cross_as_one_object() {
        let mut settings = Settings::new();
        assert_eq!(settings_text(&settings), "{}");
        settings.insert("b".to_owned(), Json::from_text("9007199254740993"));
        settings.insert("a\"".to_owned(), Json::from_text("{\"x\": 1}"));
        assert_eq!(settings_text(&settings), r#"{"a\"":{"x": 1},"b":9007199254740993}"#);
    }

    #[test]
    fn a_setting_that_is_no_json_spoils_no_other() {
        let settings = [("a", ""), ("b", "true,\"c\":1"), ("d", "2")];
        let settings = settings.map(|(name, text)| (name.to_owned(), Json::from_text(text)));
        assert_eq!(settings_text(&settings.into()), r#"{"a":"","b":"true,\"c\":1","d":2}"#);
    }
}
