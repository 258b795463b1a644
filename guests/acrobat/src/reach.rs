//! Reaching for what a guest may not have been granted: time, files, environment, network.

use std::io::{self, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use portcullis_sdk::{Error, Host};
use serde_json::{Value, json};

pub(crate) fn sleep(millis: u64) -> Value {
    thread::sleep(Duration::from_millis(millis));
    json!({ "millis": millis })
}

pub(crate) fn time_left(host: &Host<'_>) -> Value {
    let millis = host.time_left().and_then(|left| u64::try_from(left.as_millis()).ok());
    json!({ "millis": millis })
}

pub(crate) fn print(stream: &str, text: &str, repeat: usize) -> Result<Value, Error> {
    let mut out: Box<dyn Write> = match stream {
        "stdout" => Box::new(io::stdout().lock()),
        "stderr" => Box::new(io::stderr().lock()),
        other => return Err(Error::new(format!("unknown stream: {other}"))),
    };
    for _ in 0..repeat {
        out.write_all(text.as_bytes())?;
    }
    out.flush()?;
    Ok(json!({ "bytes": text.len().saturating_mul(repeat) }))
}

pub(crate) fn read(path: &str) -> Result<Value, Error> {
    Ok(json!({ "text": std::fs::read_to_string(path)? }))
}

pub(crate) fn write(path: &str, text: &str) -> Result<Value, Error> {
    std::fs::write(path, text)?;
    Ok(json!({ "bytes": text.len() }))
}

#[expect(clippy::disallowed_methods, reason = "what a guest finds in its environment is the question")]
pub(crate) fn env(name: &str) -> Value {
    let value = std::env::var_os(name);
    let text = value.as_ref().map(|value| value.to_string_lossy());
    json!({ "set": value.is_some(), "value": text.unwrap_or_default() })
}

pub(crate) fn connect(address: &str) -> Result<Value, Error> {
    TcpStream::connect(address)?;
    Ok(json!({ "connected": true }))
}
