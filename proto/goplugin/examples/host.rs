//! Launches any go-plugin plugin and says what it is: `host COOKIE=VALUE VERSIONS PROGRAM [ARGUMENT]...`

#![expect(clippy::print_stdout, reason = "it is a program for a terminal")]

use std::sync::Arc;
use std::time::Duration;

use portcullis_goplugin::log::Entry;
use portcullis_goplugin::{Cookie, Environment, Launch, Sink};

const SOON: Duration = Duration::from_secs(2);

/// Prints what the plugin logs.
struct Log;

impl Sink for Log {
    fn log(&self, entry: Entry) {
        println!("  {:5} {}", entry.level.name(), entry.message);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: host COOKIE=VALUE VERSION[,VERSION]... PROGRAM [ARGUMENT]...";
    let (cookie, versions) = arguments.next().zip(arguments.next()).ok_or(usage)?;
    let (key, value) = cookie.split_once('=').ok_or(usage)?;
    let versions = versions.split(',').map(str::parse).collect::<Result<_, _>>()?;

    let program = arguments.next().ok_or(usage)?;
    let mut launch = Launch::new(program.as_str(), Cookie::new(key, value), versions);
    launch.arguments = arguments.map(Into::into).collect();
    launch.environment = Environment::Inherit(Vec::new());
    launch.sink = Arc::new(Log);

    let plugin = launch.start().await?;
    println!("process {} speaks version {}", plugin.pid(), plugin.negotiated_version());
    println!("it listens on {} {}", plugin.address().network(), plugin.address());
    plugin.ping(SOON).await?;
    println!("it is healthy");
    // A client generated from the plugin's own .proto goes here: `KvClient::new(plugin.channel())`.
    println!("it ended: {}", plugin.stop(SOON).await);
    Ok(())
}
