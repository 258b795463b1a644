//! `portcullis list`: what lies in the plugin directories.
//!
//! Looking is not running: no native plugin is started, unless somebody asks for it with `--describe`.

use clap::Args;
use portcullis::host::Listing;
use portcullis_contract::visible_line;

use crate::describe;
use crate::exit::{Exit, Failure};
use crate::output::{Format, complain_or_end, print_or_end};
use crate::setup::{Personal, PluginArgs};
use crate::signals::Signals;
use crate::{Session, ending, errors, setup};

/// Options of `list`.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    plugins: PluginArgs,

    /// Form of the output: auto, table, json, yaml, quiet (default: table)
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

/// Runs the command.
pub(crate) async fn main(session: &Session, args: ListArgs, signals: &mut Signals) -> Result<Exit, Failure> {
    let format = Format::parse(args.output.as_deref(), Format::Table)?;
    let host = setup::host(session, &args.plugins, &Personal::default())?;
    signals.listen()?;
    let listing = match ending::after(host.list(args.plugins.describe()), &host, signals).await {
        Ok(listing) => listing.map_err(errors::find)?,
        Err(exit) => return Ok(exit),
    };

    if !session.quiet
        && let Some(exit) = complain_or_end(remarks(session, &args, &listing), signals).await
    {
        return Ok(exit);
    }
    let rows: Vec<_> = listing.plugins.iter().flat_map(describe::rows).collect();
    let ended = print_or_end(format.show_rows(&rows)?, signals).await?;
    Ok(ended.unwrap_or(Exit::Done))
}

/// Returns what there is to say beside the data, one to a line.
fn remarks(session: &Session, args: &ListArgs, listing: &Listing) -> String {
    let mut lines: Vec<_> =
        listing.unusable.iter().map(|file| format!("{}: {}", file.path.display(), file.reason)).collect();
    if listing.plugins.is_empty() {
        lines.push(args.plugins.nothing_found(session, "plugins"));
    }
    lines.iter().map(|line| visible_line(line) + "\n").collect()
}
