//! An instance of a component in its store, and the functions that it exports.
//!
//! Functions are found by name once, when a component is loaded. Their types are checked when they are called, because
//! checking a whole world costs a fresh instance more than its call does. For functions that every request calls, the
//! check is made once per component.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use portcullis_contract::{CallError, chain};
use wasmtime::Store;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower, TypedFunc,
};

use crate::component::bindings::portcullis::plugin::types::{Configuration, PluginError};
use crate::component::state::State;

/// An interface that plugins of a kind export: its name, and its functions that are called.
#[derive(Debug)]
pub(crate) struct Interface {
    name: &'static str,
    functions: &'static [&'static str],
}

/// One function of an interface: its place among them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function(usize);

impl Interface {
    pub(crate) const fn new(name: &'static str, functions: &'static [&'static str]) -> Self {
        Self { name, functions }
    }

    /// Finds a function by its name, while this is compiled: a name that is not there does not compile.
    pub(crate) const fn function(&self, name: &str) -> Function {
        let mut at = 0;
        while !equal(self.functions[at].as_bytes(), name.as_bytes()) {
            at += 1;
        }
        Function(at)
    }
}

/// Compares two names. The operator does not work in constants.
const fn equal(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// The type of a function that every request calls, by its name in Rust.
pub(crate) trait Signature: 'static {
    type Arguments<'a>: ComponentNamedList + Lower + Send + Sync;
    type Answer: Send + Sync + 'static;
}

/// Where a component has the functions of an interface; good for every instance in the same engine.
#[derive(Clone, Debug)]
pub(crate) struct Exports(Arc<[Export]>);

#[derive(Debug)]
struct Export {
    index: ComponentExportIndex,
    /// The [`Signature`] that its type was found to be.
    compared: OnceLock<TypeId>,
}

impl Exports {
    /// Finds them all, or says which is missing.
    pub(crate) fn find(component: &Component, interface: &Interface) -> wasmtime::Result<Self> {
        let Interface { name, functions } = interface;
        let missing = || wasmtime::Error::msg(format!("it exports no {name}"));
        let within = component.get_export_index(None, name).ok_or_else(missing)?;
        let find = |function: &&str| {
            let missing = || wasmtime::Error::msg(format!("its {name} has no function {function}"));
            let index = component.get_export_index(Some(&within), function).ok_or_else(missing)?;
            Ok(Export { index, compared: OnceLock::new() })
        };
        Ok(Self(functions.iter().map(find).collect::<wasmtime::Result<_>>()?))
    }

    fn get(&self, function: Function) -> wasmtime::Result<&Export> {
        self.0
            .get(function.0)
            .ok_or_else(|| wasmtime::Error::msg("a function of another interface was asked for"))
    }
}

/// The function that configures a plugin of either kind.
enum Configures {}

impl Signature for Configures {
    type Arguments<'a> = (&'a str, &'a Configuration);
    type Answer = Result<(), PluginError>;
}

/// An instance in its store.
pub(crate) struct Guest {
    pub(crate) store: Store<State>,
    instance: Instance,
    exports: Exports,
    /// What it was configured with, by provider or handler.
    pub(crate) configured: BTreeMap<String, Arc<Configuration>>,
}

impl Guest {
    pub(crate) fn new(store: Store<State>, instance: Instance, exports: Exports) -> Self {
        Self { store, instance, exports, configured: BTreeMap::new() }
    }

    /// Calls a function. Fails when its type is not that of the arguments and the result.
    pub(crate) async fn call<Arguments, Answer>(
        &mut self,
        function: Function,
        arguments: Arguments,
    ) -> wasmtime::Result<Answer>
    where
        Arguments: ComponentNamedList + Lower + Send + Sync,
        Answer: Send + Sync + 'static,
        (Answer,): ComponentNamedList + Lift,
    {
        let Export { index, .. } = self.exports.get(function)?;
        let function = self.instance.get_typed_func::<Arguments, (Answer,)>(&mut self.store, index)?;
        let (answer,) = function.call_async(&mut self.store, arguments).await?;
        Ok(answer)
    }

    /// Calls a function whose type is compared once for all instances. Fails when it is another than `S`.
    #[expect(unsafe_code, reason = "wasmtime does not remember what it has compared")]
    pub(crate) async fn call_as<S: Signature>(
        &mut self,
        function: Function,
        arguments: S::Arguments<'_>,
    ) -> wasmtime::Result<S::Answer>
    where
        (S::Answer,): ComponentNamedList + Lift,
    {
        let Export { index, compared } = self.exports.get(function)?;
        let function = if compared.get() == Some(&TypeId::of::<S>()) {
            let missing = || wasmtime::Error::msg("it exports a function no more");
            let function = self.instance.get_func(&mut self.store, index).ok_or_else(missing)?;
            // SAFETY: this export was found to be of this type, and every instance with these exports is one of the
            // same component. Lifetimes, which are all that two calls with one `S` can differ in, are no part of it.
            unsafe { TypedFunc::<S::Arguments<'_>, (S::Answer,)>::new_unchecked(function) }
        } else {
            let function = self.instance.get_typed_func(&mut self.store, index)?;
            compared.get_or_init(TypeId::of::<S>);
            function
        };
        let (answer,) = function.call_async(&mut self.store, arguments).await?;
        Ok(answer)
    }

    /// Compares everything that it exports with what the bindings of a world know.
    pub(crate) fn check<World>(
        &mut self,
        bind: impl FnOnce(&mut Store<State>, &Instance) -> wasmtime::Result<World>,
    ) -> wasmtime::Result<()> {
        let compared = bind(&mut self.store, &self.instance).map(drop);
        compared.map_err(|error| {
            let told = "not all that it exports has the types of portcullis:plugin@0.1.0; build it for that";
            wasmtime::Error::msg(format!("{told}: {error:#}"))
        })
    }

    /// Configures the instance, unless it has this configuration already.
    pub(crate) async fn configure(
        &mut self,
        configure: Function,
        name: &str,
        new: Arc<Configuration>,
    ) -> wasmtime::Result<()> {
        if self.configured.get(name).is_some_and(|old| Arc::ptr_eq(old, &new)) {
            return Ok(());
        }
        if let Err(error) = self.configure_anew(configure, name, new).await? {
            // It took the same configuration before, so this is for its author and not for the caller.
            tracing::warn!(plugin = %self.store.data().plugin(), name,
                "a new instance refuses the configuration: {}", chain(&CallError::from(error)));
        }
        Ok(())
    }

    /// Configures the instance, which may refuse the configuration.
    pub(crate) async fn configure_anew(
        &mut self,
        configure: Function,
        name: &str,
        new: Arc<Configuration>,
    ) -> wasmtime::Result<Result<(), PluginError>> {
        let answer = self.call_as::<Configures>(configure, (name, &*new)).await?;
        self.configured.insert(name.to_owned(), new);
        Ok(answer)
    }
}
