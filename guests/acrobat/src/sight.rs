//! Everything that a guest is told, as JSON.
//!
//! What was not said is `null`; settings that were not set are `{}`. JSON that came is shown as it came.
//!
//! | Of a request | |
//! |---|---|
//! | `dryRun`, `backup` | bool |
//! | `mode`, `workingDirectory`, `outputDirectory`, `conflictStrategy`, `authProfile` | text or `null` |
//! | `context` (the resolver context), `parameters` | JSON or `null` |
//! | `iteration` | `null` or `item` (JSON or `null`), `index`, `itemAlias`, `indexAlias` |
//! | `solution` | `null` or `name`, `version`, `displayName`, `description`, `category`, `tags`, `source` |
//! | `settings` | a JSON object |
//!
//! | Of a configuration | |
//! |---|---|
//! | `quiet`, `noColor`, `promptsForResponse` | bool; the native peer has not the last |
//! | `binaryName` | text |
//! | `profile` | text or `null` |
//! | `settings` | a JSON object |

use portcullis_sdk::{Configuration, Context, Error, Iteration, Json, Settings, Solution};
use serde_json::{Value, json};

pub(crate) fn of_request(seen: &Context) -> Result<Value, Error> {
    Ok(json!({
        "dryRun": seen.dry_run,
        "mode": seen.mode.as_ref().map(|mode| mode.as_str()),
        "workingDirectory": seen.working_directory,
        "outputDirectory": seen.output_directory,
        "conflictStrategy": seen.conflict_strategy,
        "backup": seen.backup,
        "iteration": seen.iteration.as_ref().map(of_iteration).transpose()?,
        "parameters": of_json(seen.parameters.as_ref())?,
        "solution": seen.solution.as_ref().map(of_solution),
        "context": seen.resolver_context::<Value>()?,
        "authProfile": seen.auth_profile,
        "settings": of_settings(&seen.settings)?,
    }))
}

pub(crate) fn of_configuration(seen: &Configuration) -> Result<Value, Error> {
    Ok(json!({
        "quiet": seen.quiet,
        "noColor": seen.no_color,
        "binaryName": seen.binary_name,
        "profile": seen.profile,
        "promptsForResponse": seen.prompts_for_response,
        "settings": of_settings(&seen.settings)?,
    }))
}

fn of_iteration(iteration: &Iteration) -> Result<Value, Error> {
    Ok(json!({
        "item": of_json(iteration.item.as_ref())?,
        "index": iteration.index,
        "itemAlias": iteration.item_alias,
        "indexAlias": iteration.index_alias,
    }))
}

fn of_solution(solution: &Solution) -> Value {
    json!({
        "name": solution.name,
        "version": solution.version,
        "displayName": solution.display_name,
        "description": solution.description,
        "category": solution.category,
        "tags": solution.tags,
        "source": solution.source,
    })
}

fn of_settings(settings: &Settings) -> Result<Value, Error> {
    settings.iter().map(|(name, value)| Ok((name.clone(), value.parse::<Value>()?))).collect()
}

fn of_json(json: Option<&Json>) -> Result<Value, Error> {
    Ok(json.map(Json::parse).transpose()?.unwrap_or_default())
}
