//! What a provider plugin does.

use crate::{Configuration, Descriptor, Error, Execute, Host, Json, Output, Sink};

/// A plugin that offers providers.
///
/// One plugin may offer several providers, so most methods name the provider that is meant. What to know:
///
/// - A value of this type may live for one call only. What has to last belongs in the host's secrets.
/// - In a native plugin calls may overlap; an instance of a component has one call at a time.
/// - In a component, a call whose caller has gone is ended wherever it stands. In a native plugin it goes on, and is
///   told so: by [`Host::cancelled`], by the sink, and by calls of the host that fail.
/// - A panic ends a native plugin as a whole, and the instance of a component. Its text is shown to the user.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no provider",
    note = "a plugin that is an auth handler is exported by `export_auth_handler!`"
)]
pub trait Provider: Send + Sync + 'static {
    /// Returns the names under which this plugin offers providers.
    ///
    /// # Errors
    ///
    /// If the plugin cannot say. Hosts cannot use it then.
    fn providers(&self) -> Result<Vec<String>, Error>;

    /// Describes one provider. Hosts call this when they start the plugin, or only to list it: the instance that
    /// executes may never have been asked.
    ///
    /// # Errors
    ///
    /// [`Error::unknown_provider`] for a name that the plugin does not offer.
    fn describe(&self, provider: &str) -> Result<Descriptor, Error>;

    /// Prepares one provider. Every instance of the plugin is configured before it is used, so each call may wait for
    /// this; keep it short. The instance may then wait for its call, so ask for what expires, a token say, in the call. The same
    /// value may be configured again; what came last holds.
    ///
    /// # Errors
    ///
    /// When the configuration cannot be used. The host logs the error, and calls the provider all the same, as if it
    /// had none: a call that cannot do without it has to return an error itself.
    fn configure(&self, host: &Host<'_>, provider: &str, configuration: Configuration) -> Result<(), Error> {
        let _ = (host, provider, configuration);
        Ok(())
    }

    /// Runs one request to its end.
    ///
    /// # Errors
    ///
    /// When the request is declined or fails.
    fn execute(&self, host: &Host<'_>, request: Execute) -> Result<Output, Error>;

    /// Runs one request and shows what it does as it happens.
    ///
    /// # Errors
    ///
    /// When the request is declined or fails. [`Error::Unimplemented`], the default, makes the host call
    /// [`execute`](Self::execute) instead, if it comes before anything was written.
    fn execute_stream(
        &self,
        host: &Host<'_>,
        request: Execute,
        sink: &mut Sink<'_>,
    ) -> Result<Output, Error> {
        let _ = (host, request, sink);
        Err(Error::Unimplemented)
    }

    /// Says in words what a request would do. An empty text leaves the words to the host.
    ///
    /// # Errors
    ///
    /// When it cannot be said.
    fn describe_what_if(&self, host: &Host<'_>, provider: &str, input: &Json) -> Result<String, Error> {
        let _ = (host, provider, input);
        Ok(String::new())
    }

    /// Names the resolvers that raw inputs refer to. An empty list leaves the search to the host.
    ///
    /// # Errors
    ///
    /// When the inputs cannot be understood.
    fn extract_dependencies(
        &self,
        host: &Host<'_>,
        provider: &str,
        inputs: &Json,
    ) -> Result<Vec<String>, Error> {
        let _ = (host, provider, inputs);
        Ok(Vec::new())
    }

    /// Ends one provider, or all of them. The plugin goes on running.
    ///
    /// # Errors
    ///
    /// When it cannot be ended well; it is ended all the same.
    fn stop(&self, host: &Host<'_>, provider: Option<&str>) -> Result<(), Error> {
        let _ = (host, provider);
        Ok(())
    }
}
