//! An instance of a component in its store, and the functions that it exports.
//!
//! Functions are found by name once, when a component is loaded. Their types are compared with ours when
//! they are called: comparing those of a whole world costs a fresh instance more than the call it is for.

use std::sync::Arc;

use portcullis_contract::CallError;
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower};

use crate::component::bindings::portcullis::plugin::types::{Configuration, PluginError};
use crate::component::instances::chain;
use crate::component::state::State;

/// One function of a component; good for every instance of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function(ComponentExportIndex);

/// Finds the functions of an interface that a component exports.
pub(crate) struct Exported<'a> {
    component: &'a Component,
    interface: ComponentExportIndex,
    name: &'a str,
}

impl<'a> Exported<'a> {
    pub(crate) fn new(component: &'a Component, name: &'a str) -> wasmtime::Result<Self> {
        let interface = component.get_export_index(None, name);
        let interface = interface.ok_or_else(|| wasmtime::Error::msg(format!("it exports no {name}")))?;
        Ok(Self { component, interface, name })
    }

    pub(crate) fn function(&self, function: &str) -> wasmtime::Result<Function> {
        let index = self.component.get_export_index(Some(&self.interface), function);
        let missing = || wasmtime::Error::msg(format!("its {} has no function {function}", self.name));
        index.map(Function).ok_or_else(missing)
    }
}

/// An instance in its store.
pub(crate) struct Guest {
    pub(crate) store: Store<State>,
    instance: Instance,
    /// What it was configured with, by provider or handler.
    pub(crate) configured: Vec<(String, Arc<Configuration>)>,
}

impl Guest {
    pub(crate) fn new(store: Store<State>, instance: Instance) -> Self {
        Self { store, instance, configured: Vec::new() }
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
        let function = self.instance.get_typed_func::<Arguments, (Answer,)>(&mut self.store, function.0)?;
        let (answer,) = function.call_async(&mut self.store, arguments).await?;
        Ok(answer)
    }

    /// Compares everything that it exports with what the bindings of a world know.
    pub(crate) fn check<World>(
        &mut self,
        bind: impl FnOnce(&mut Store<State>, &Instance) -> wasmtime::Result<World>,
    ) -> wasmtime::Result<()> {
        bind(&mut self.store, &self.instance).map(drop)
    }

    /// Tells the instance its configuration, unless it knows it.
    pub(crate) async fn configure(
        &mut self,
        configure: Function,
        name: &str,
        new: Arc<Configuration>,
    ) -> wasmtime::Result<()> {
        if self.configured.iter().any(|(known, old)| known == name && Arc::ptr_eq(old, &new)) {
            return Ok(());
        }
        if let Err(error) = self.configure_anew(configure, name, new).await? {
            // It took the very same before. What it says now is for its author, not for the caller.
            tracing::warn!(plugin = %self.store.data().plugin(), name,
                "a new instance refuses the configuration: {}", chain(&CallError::from(error)));
        }
        Ok(())
    }

    /// Tells the instance a configuration that it may refuse.
    pub(crate) async fn configure_anew(
        &mut self,
        configure: Function,
        name: &str,
        new: Arc<Configuration>,
    ) -> wasmtime::Result<Result<(), PluginError>> {
        let answer = self.call(configure, (name, &*new)).await?;
        self.configured.retain(|(known, _)| known != name);
        self.configured.push((name.to_owned(), new));
        Ok(answer)
    }
}
