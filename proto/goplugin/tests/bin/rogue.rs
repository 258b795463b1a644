//! A plugin that keeps the protocol, or breaks it in the way that its first argument names.
//!
//! It is built without any of the library's own code for plugins, so that a fault there cannot hide one
//! in the host. What it can do is an arm of the `match` in `main` each.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what a plugin does")]
#![expect(
    clippy::disallowed_methods,
    reason = "it plays the plugin's part: it reads its environment, and forks"
)]

use std::error::Error;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::time::Duration;

use portcullis_goplugin::{Cookie, Launch, Versions};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let (mode, argument) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    if mode != "host" && std::env::var("ROGUE").as_deref() != Ok("yes") {
        eprintln!("this is a plugin, and not to be run by hand");
        exit(1);
    }
    match mode.as_str() {
        "line" => {
            println!("{argument}");
            forever()
        }
        "line-and-exit" => println!("{argument}"),
        "piece" => {
            print!("{argument}");
            std::io::stdout().flush()?;
            forever()
        }
        "piece-and-exit" => print!("{argument}"),
        "exit" => {
            eprintln!("it was not to be");
            exit(argument.parse()?);
        }
        "hang" => forever(),
        "flood-stdout" => loop {
            print!("{}", "x".repeat(1 << 16));
        },
        "flood-stderr" => loop {
            eprintln!("{}", "x".repeat(1000));
        },
        "fork" => {
            descendant()?;
            exit(3)
        }
        "close" => {
            // It goes on as the same process, without its standard output.
            let mut again = Command::new(std::env::current_exe()?);
            return Err(again.arg("hang").stdout(Stdio::null()).exec().into());
        }
        "serve" => serve(announce(&socket()?)?).await?,
        "serve-on" => {
            let _unheard = signal(SignalKind::terminate())?;
            serve(announce(&socket()?)?).await?
        }
        "serve-tcp" => serve_tcp(&argument).await?,
        "serve-and-flood" => {
            let path = socket()?;
            let listener = announce(&path)?;
            // One line without an end, far beyond what any buffer takes.
            std::thread::spawn(|| {
                for _ in 0..64 {
                    print!("{}", "x".repeat(1 << 16));
                }
                eprintln!("[INFO] flooded");
            });
            serve(listener).await?
        }
        "serve-with-descendant" => {
            eprintln!("[INFO] {} {}", std::process::id(), descendant()?);
            serve(announce(&socket()?)?).await?
        }
        "serve-and-say" => {
            for (key, value) in std::env::vars() {
                eprintln!("{key}={value}");
            }
            eprintln!(r#"{{"@level":"warn","@message":"a structured one","@module":"rogue","answer":42}}"#);
            serve(announce(&socket()?)?).await?
        }
        "refused-elsewhere" => {
            let _listener = UnixListener::bind(&argument)?;
            // Nobody speaks that version of the protocol's core.
            println!("2|1|unix|{argument}|grpc|");
            forever()
        }
        "serve-elsewhere" => serve(announce(Path::new(&argument))?).await?,
        "host" => host(&argument).await?,
        _ => return Err(format!("no mode {mode:?}").into()),
    }
    Ok(())
}

/// Starts a process that stays in our group and holds our pipes, and returns its id.
fn descendant() -> Result<u32, Box<dyn Error>> {
    Ok(Command::new(std::env::current_exe()?).arg("hang").spawn()?.id())
}

fn forever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn socket() -> Result<PathBuf, std::env::VarError> {
    Ok(PathBuf::from(std::env::var("PLUGIN_UNIX_SOCKET_DIR")?).join("plugin1"))
}

fn announce(path: &Path) -> std::io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    println!("1|1|unix|{}|grpc|", path.display());
    Ok(listener)
}

async fn serve(listener: UnixListener) -> Outcome {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("plugin", tonic_health::ServingStatus::Serving).await;
    let server = Server::builder().add_service(health);
    Ok(server.serve_with_incoming(UnixListenerStream::new(listener)).await?)
}

/// `health` is what it says of itself.
async fn serve_tcp(health: &str) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    // No host, and only five fields: what plugins that are not written in Go may print.
    println!("1|1|tcp|:{}|grpc", listener.local_addr()?.port());
    let (reporter, service) = tonic_health::server::health_reporter();
    let status = match health {
        "sick" => tonic_health::ServingStatus::NotServing,
        _ => tonic_health::ServingStatus::Serving,
    };
    reporter.set_service_status("plugin", status).await;
    Ok(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)).await?)
}

/// Plays the host of another rogue, with 64 MiB of memory, prints the ids that it should take along, and waits to be killed.
async fn host(base: &str) -> Outcome {
    struct Print;
    impl portcullis_goplugin::Sink for Print {
        fn log(&self, entry: portcullis_goplugin::log::Entry) {
            if let Some(ids) = entry.message.strip_prefix("[INFO] ") {
                println!("{ids}");
            }
        }
    }

    let memory = vec![1_u8; 64 << 20];
    let exe = std::env::current_exe()?;
    let mut launch = Launch::new(exe, Cookie::new("ROGUE", "yes"), Versions::from([1]));
    launch.arguments = vec!["serve-with-descendant".into()];
    launch.socket_base = Some(base.into());
    launch.sink = std::sync::Arc::new(Print);
    let _plugin = launch.start().await?;
    std::future::pending::<()>().await;
    drop(memory);
    Ok(())
}
