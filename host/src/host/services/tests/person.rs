//! What a plugin may have a person asked.

use super::*;

/// Says what it was asked.
#[derive(Debug)]
struct Echo;

#[async_trait]
impl Person for Echo {
    async fn auth_response(
        &self,
        plugin: &PluginName,
        request: &ResponseRequest,
    ) -> Result<String, PromptError> {
        Ok(format!("{plugin} {} {}", request.handler, request.authorization_url))
    }
}

#[tokio::test]
async fn a_person_is_asked_if_there_is_one() {
    let request = ResponseRequest {
        handler: "door".to_owned(),
        authorization_url: "https://door.example".to_owned(),
        redirect_uri: "http://127.0.0.1:1/".to_owned(),
    };
    let alone = guard(None, may_ask(&[], false));
    let nobody = PromptError::Unavailable("there is nobody to ask".to_owned());
    assert_eq!(alone.prompt_auth_response(&request).await, Err(nobody));
    let there = alone.with_person(Arc::new(Echo));
    let asked = there.prompt_auth_response(&request).await;
    assert_eq!(asked.as_deref(), Ok("github door https://door.example"));
    let astray = ResponseRequest { authorization_url: "http://door.example".to_owned(), ..request };
    let why = r#"nobody is sent to "http://door.example": that is not https"#;
    assert_eq!(there.prompt_auth_response(&astray).await, Err(PromptError::Unavailable(why.to_owned())));
}
