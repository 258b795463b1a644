//! What a guest shows and asks a person during a login.
//!
//! A device code goes to whoever reads the stream of the login, and waits for them; in a call that nobody reads it goes
//! nowhere (contract item 128). A question goes to the host, which alone knows how to ask. That takes as long as the
//! person does, and costs the guest no processor time. With nobody to ask it takes no time either, so questions count
//! as output, as codes do.

use portcullis_contract::{DeviceCodePrompt, LoginEvent, PromptError, ResponseRequest};

use crate::component::bindings::auth::portcullis::plugin::prompts as wit;
use crate::component::state::State;

impl wit::Host for State {
    async fn device_code(&mut self, prompt: wit::DeviceCodePrompt) -> wasmtime::Result<()> {
        let prompt = DeviceCodePrompt::from(prompt);
        self.printed().count(usize::try_from(prompt.size()).unwrap_or(usize::MAX))?;
        if let Some(reader) = self.prompts() {
            // A reader who has gone has dropped the login, and this with it.
            let _ = reader.send(LoginEvent::Prompt(prompt)).await;
        }
        Ok(())
    }

    async fn auth_response(
        &mut self,
        request: wit::ResponseRequest,
    ) -> wasmtime::Result<Result<String, wit::PromptError>> {
        let request = ResponseRequest::from(request);
        self.printed().count(usize::try_from(request.size()).unwrap_or(usize::MAX))?;
        let answer = match self.host() {
            Some(host) => host.prompt_auth_response(&request).await,
            None => Err(PromptError::Unimplemented),
        };
        Ok(answer.map_err(wit::PromptError::from))
    }
}
