//! Requests that a guest has begun and not sent: how many, and how long their texts may be.
//!
//! Wasmtime keeps them in our memory, where no limit on memory counts them. Some of its calls are replaced by ones that
//! look first.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::types::{
    Headers, HostOutgoingRequest as _, Method, OutgoingRequest,
};

use crate::component::state::State;

/// The most requests that a guest may have begun and not sent. A guess: a few can be under way at a time, and each may
/// hold a hundred and fifty KiB of headers, trailers, path and body.
const UNSENT: usize = 256;
/// The most bytes of a method or an authority. No host name is nearly as long.
const TEXT: usize = 8 << 10;
/// What wasmtime calls the interface that requests are made with.
const TYPES: &str = "wasi:http/types@0.2.12";

/// The requests that a guest has begun and not sent, by their numbers in the table, and some that are gone.
#[derive(Debug, Default)]
pub(crate) struct Unsent(Vec<u32>);

impl Unsent {
    /// Refuses one more if there are as many as there may be.
    fn check(&mut self, table: &ResourceTable) -> wasmtime::Result<()> {
        self.0.retain(|number| table.get(&Resource::<OutgoingRequest>::new_borrow(*number)).is_ok());
        // Begins as the engine's own errors of this sort do, and is told like them.
        let excess =
            || wasmtime::Error::msg(format!("resource limit exceeded: {UNSENT} requests that are not sent"));
        if self.0.len() < UNSENT { Ok(()) } else { Err(excess()) }
    }

    fn add(&mut self, number: u32) {
        // One that was sent may have had the same.
        if !self.0.contains(&number) {
            self.0.push(number);
        }
    }
}

/// Replaces the calls that make requests, and that keep texts of any length.
pub(crate) fn bound_requests(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    type Set<T> = (Resource<OutgoingRequest>, T);

    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[constructor]outgoing-request",
        |mut store: StoreContextMut<'_, State>, (headers,): (Resource<Headers>,)| {
            let (unsent, table) = store.data_mut().unsent();
            unsent.check(table)?;
            let request = store.data_mut().http().new(headers)?;
            store.data_mut().unsent().0.add(request.rep());
            Ok((request,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, State>, (request, method): Set<Method>| match &method {
            Method::Other(text) if text.len() > TEXT => Ok((Err(()),)),
            _ => Ok((store.data_mut().http().set_method(request, method)?,)),
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, State>, (request, authority): Set<Option<String>>| match &authority {
            Some(text) if text.len() > TEXT => Ok((Err(()),)),
            _ => Ok((store.data_mut().http().set_authority(request, authority)?,)),
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
