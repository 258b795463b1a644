//! One request to the web, through the host, and parts of requests that are never made.
//!
//! `std` knows no HTTP, so this speaks to the host's own interface for it.

use portcullis_sdk::Error;
use serde_json::{Value, json};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, IncomingBody, IncomingResponse, Method, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

/// Gets what is to be found at an address.
pub(crate) fn get(url: &str) -> Result<Value, Error> {
    let (scheme, authority, path) = parts(url).ok_or_else(|| Error::new(format!("not a URL: {url}")))?;
    let request = OutgoingRequest::new(Fields::new());
    request
        .set_scheme(Some(&scheme))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(path)))
        .map_err(|()| Error::new(format!("not a URL: {url}")))?;

    let pending = outgoing_handler::handle(request, None)?;
    pending.subscribe().block();
    let response = pending.get().expect("a response that is ready is there").expect("and is taken once")?;
    Ok(json!({ "status": response.status(), "body": text(&response)? }))
}

/// Makes `lists` lists of headers, each of `size` bytes, and drops none before the last is made.
pub(crate) fn headers(lists: usize, size: usize) -> Result<Value, Error> {
    let value = vec![b'x'; size];
    let list = |_| -> Result<Fields, Error> {
        let fields = Fields::new();
        fields.append("x-acrobat", &value).map_err(|error| Error::new(format!("no header: {error:?}")))?;
        Ok(fields)
    };
    let kept = (0..lists).map(list).collect::<Result<Vec<_>, Error>>()?;
    Ok(json!({ "lists": kept.len() }))
}

/// Makes `requests` requests, each with a method of `size` bytes, and drops none before the last is made.
pub(crate) fn methods(requests: usize, size: usize) -> Result<Value, Error> {
    let method = Method::Other("X".repeat(size));
    hoard(requests, |request| request.set_method(&method))
}

/// The same with authorities.
pub(crate) fn authorities(requests: usize, size: usize) -> Result<Value, Error> {
    let authority = "x".repeat(size);
    hoard(requests, |request| request.set_authority(Some(&authority)))
}

fn hoard(requests: usize, set: impl Fn(&OutgoingRequest) -> Result<(), ()>) -> Result<Value, Error> {
    let request = |_| -> Result<OutgoingRequest, Error> {
        let request = OutgoingRequest::new(Fields::new());
        set(&request).map_err(|()| Error::new("no such request"))?;
        Ok(request)
    };
    let kept = (0..requests).map(request).collect::<Result<Vec<_>, Error>>()?;
    Ok(json!({ "requests": kept.len() }))
}

/// Cuts an address into its parts.
fn parts(url: &str) -> Option<(Scheme, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Some((scheme, authority, if path.is_empty() { "/" } else { path }))
}

/// Reads a body to its end.
fn text(response: &IncomingResponse) -> Result<String, Error> {
    const CHUNK: u64 = 64 * 1024;
    let body = response.consume().map_err(|()| Error::new("the body was taken before"))?;
    let stream = body.stream().map_err(|()| Error::new("the body was taken before"))?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(CHUNK) {
            Ok(chunk) => bytes.extend(chunk),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => return Err(Error::new(error.to_debug_string())),
        }
    }
    drop(stream);
    drop(IncomingBody::finish(body));
    Ok(String::from_utf8(bytes)?)
}
