//! `portcullis list`: what lies in the plugin directories.
//!
//! Looking is not running: no native plugin is started, unless somebody asks for it with `--describe`.

use clap::Args;
use portcullis_contract::visible_line;
use serde::Serialize;

use crate::describe::{self, Row};
use crate::exit::{Exit, Failure};
use crate::output::{Format, complain, print_or_end};
use crate::setup::{Personal, PluginArgs};
use crate::signals::Signals;
use crate::{Session, errors, run, setup, table};

/// Options of `list`.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    plugins: PluginArgs,

    /// Form of the output: table, json, yaml, quiet (default: table)
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

/// Runs the command.
pub(crate) async fn main(session: &Session, args: ListArgs) -> Result<Exit, Failure> {
    let format = Format::parse(args.output.as_deref(), Format::Table)?;
    let host = setup::host(session, &args.plugins, &Personal::default())?;
    let mut signals = Signals::new()?;
    let listing = tokio::select! {
        listing = host.list(args.plugins.describe()) => Ok(listing),
        exit = signals.next() => Err(exit),
    };
    run::stop(&host, None, &mut signals).await;
    let listing = match listing {
        Ok(listing) => listing.map_err(errors::find)?,
        Err(exit) => return Ok(exit),
    };

    if !session.quiet {
        for misfit in &listing.misfits {
            let text = format!("{}: {}", misfit.path.display(), misfit.reason);
            complain(format!("{}\n", visible_line(&text)).as_bytes());
        }
        let directories = args.plugins.directories(session);
        if directories.is_empty() {
            complain(b"no directory to look in; name one with --plugin-dir or PORTCULLIS_PLUGIN_DIR\n");
        } else if listing.plugins.is_empty() {
            let directories: Vec<_> = directories.iter().map(|dir| dir.display().to_string()).collect();
            complain(format!("no plugins in {}\n", visible_line(&directories.join(", "))).as_bytes());
        }
    }
    let rows: Vec<_> = listing.plugins.iter().flat_map(describe::rows).collect();
    let ended = print_or_end(render(&rows, format)?, &mut signals).await?;
    Ok(ended.unwrap_or(Exit::Done))
}

fn render(rows: &[Row], format: Format) -> anyhow::Result<String> {
    if format != Format::Table {
        return json_of(rows, format);
    }
    let headings = ["NAME", "KIND", "BACKEND", "VERSION", "DIGEST", "MAY TOUCH", "NOTE"];
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    Ok(if rows.is_empty() { String::new() } else { table::set(&headings, &cells) })
}

/// Gives anything its form.
pub(crate) fn json_of<T: Serialize + ?Sized>(data: &T, format: Format) -> anyhow::Result<String> {
    let text = serde_json::to_string(data)?;
    Ok(format.render(&crate::json::Document::parse(&text)?))
}
