//! What a guest is told and asked.

use portcullis_contract::{Configuration, Context, Iteration, Json, Solution};

use crate::component::bindings::portcullis::plugin::types;
use crate::component::convert::said;

impl From<&Configuration> for types::Configuration {
    fn from(from: &Configuration) -> Self {
        let Configuration { quiet, no_color, binary_name, settings, profile, prompts_for_response } = from;
        Self {
            quiet: *quiet,
            no_color: *no_color,
            binary_name: binary_name.clone(),
            settings: Json::object(settings).into_string(),
            profile: said(profile.clone()),
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
            // An empty object is how the wire says that there is none.
            context: said(context.map(Json::into_string)).filter(|context| context != "{}"),
            dry_run,
            mode: said(mode.map(|mode| mode.as_str().to_owned())),
            working_directory: said(working_directory),
            output_directory: said(output_directory),
            conflict_strategy: said(conflict_strategy),
            backup,
            iteration: iteration.map(Into::into),
            parameters: said(parameters.map(Json::into_string)),
            solution: solution.map(Into::into),
            auth_profile: said(auth_profile),
            settings: (!settings.is_empty()).then(|| Json::object(&settings).into_string()),
        }
    }
}

impl From<Iteration> for types::Iteration {
    fn from(from: Iteration) -> Self {
        let Iteration { item, index, item_alias, index_alias } = from;
        Self { item: said(item.map(Json::into_string)), index, item_alias, index_alias }
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

    /// Contract item 36.
    #[test]
    fn what_says_nothing_was_not_said() {
        let [working_directory, output_directory, conflict_strategy] = [(); 3].map(|()| Some(String::new()));
        let context = Some(Json::from_text("{}"));
        let context =
            Context { context, working_directory, output_directory, conflict_strategy, ..Context::default() };
        let told = types::ExecutionContext::from(context);
        assert_eq!(told.context, None);
        let places = (told.working_directory, told.output_directory);
        assert_eq!((places, told.conflict_strategy), ((None, None), None));
    }
}
