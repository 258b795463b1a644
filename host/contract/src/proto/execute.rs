//! Configuring, executing and the smaller calls, to and from the wire (contract spec 1.3).

use std::num::NonZeroU32;

use bytes::Bytes;
use portcullis_proto as proto;
use portcullis_proto::execute_provider_stream_chunk::Chunk as Payload;

use super::{Answer, ConvertError, answer, non_empty, optional_text, text, to_bytes, to_optional_bytes};
use crate::{
    Capability, Configuration, Context, Execute, Iteration, Json, Output, PROTOCOL_VERSION, ProviderName,
    Settings, Solution,
};

/// What a request to configure carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configure {
    /// The provider that is meant, by its advertised name.
    pub provider: ProviderName,
    /// The configuration itself.
    pub configuration: Configuration,
    /// The broker's id of our host service; `None` offers none.
    pub host_service: Option<NonZeroU32>,
    /// The application protocol that the sender speaks.
    pub protocol_version: i32,
}

impl From<Configure> for proto::ConfigureProviderRequest {
    fn from(configure: Configure) -> Self {
        let Configure { provider, configuration, host_service, protocol_version } = configure;
        // Providers have no login during which to ask a person, so they are not told whether that is possible.
        let Configuration { quiet, no_color, binary_name, settings, profile, prompts_for_response: _ } =
            configuration;
        Self {
            provider_name: provider.as_str().to_owned(),
            quiet,
            no_color,
            binary_name,
            host_service_id: host_service.map_or(0, NonZeroU32::get),
            settings: to_settings(settings),
            protocol_version,
            profile: profile.unwrap_or_default(),
        }
    }
}

impl TryFrom<proto::ConfigureProviderRequest> for Configure {
    type Error = ConvertError;

    fn try_from(request: proto::ConfigureProviderRequest) -> Result<Self, ConvertError> {
        Ok(Self {
            provider: ProviderName::new(request.provider_name),
            configuration: Configuration {
                quiet: request.quiet,
                no_color: request.no_color,
                binary_name: request.binary_name,
                settings: from_settings(request.settings)?,
                profile: non_empty(request.profile),
                prompts_for_response: false,
            },
            host_service: NonZeroU32::new(request.host_service_id),
            protocol_version: request.protocol_version,
        })
    }
}

pub(super) fn to_settings<M: FromIterator<(String, Bytes)>>(settings: Settings) -> M {
    settings.into_iter().map(|(name, value)| (name, to_bytes(value))).collect()
}

pub(super) fn from_settings(
    settings: impl IntoIterator<Item = (String, Bytes)>,
) -> Result<Settings, ConvertError> {
    settings.into_iter().map(|(name, value)| Ok((name, text("settings", value)?))).collect()
}

impl TryFrom<proto::ConfigureProviderResponse> for Answer<()> {
    type Error = ConvertError;

    fn try_from(response: proto::ConfigureProviderResponse) -> Result<Self, ConvertError> {
        // The version is for people; neither side acts on it (contract item 21).
        let proto::ConfigureProviderResponse { error, diagnostics, protocol_version: _ } = response;
        answer(error, 0, diagnostics, |_| Ok(()))
    }
}

impl From<Answer<()>> for proto::ConfigureProviderResponse {
    fn from(answer: Answer<()>) -> Self {
        let protocol_version = if answer.0.is_ok() { PROTOCOL_VERSION } else { 0 };
        let ((), error, diagnostics) = answer.split();
        Self { error, diagnostics, protocol_version }
    }
}

/// The context is always sent, and at least `{}` (contract spec 4.6).
impl From<Execute> for proto::ExecuteProviderRequest {
    fn from(execute: Execute) -> Self {
        let Execute { provider, input, context } = execute;
        Self {
            provider_name: provider.as_str().to_owned(),
            input: to_bytes(input),
            context: context.context.map_or_else(|| Bytes::from_static(b"{}"), to_bytes),
            dry_run: context.dry_run,
            execution_mode: context.mode.map(|mode| mode.as_str().to_owned()).unwrap_or_default(),
            working_directory: context.working_directory.unwrap_or_default(),
            output_directory: context.output_directory.unwrap_or_default(),
            conflict_strategy: context.conflict_strategy.unwrap_or_default(),
            backup: context.backup,
            iteration_context: context.iteration.map(proto::IterationContext::from),
            parameters: to_optional_bytes(context.parameters),
            solution_metadata: context.solution.map(proto::SolutionMeta::from),
            auth_profile: context.auth_profile.unwrap_or_default(),
            settings: to_settings(context.settings),
        }
    }
}

impl TryFrom<proto::ExecuteProviderRequest> for Execute {
    type Error = ConvertError;

    fn try_from(request: proto::ExecuteProviderRequest) -> Result<Self, ConvertError> {
        Ok(Self {
            provider: ProviderName::new(request.provider_name),
            input: optional_text("input", request.input)?.unwrap_or_else(Json::null),
            context: Context {
                // An empty object is how the wire says that there is none.
                context: optional_text("context", request.context)?.filter(|c| c.as_str() != "{}"),
                dry_run: request.dry_run,
                mode: non_empty(request.execution_mode).map(Capability::new),
                working_directory: non_empty(request.working_directory),
                output_directory: non_empty(request.output_directory),
                conflict_strategy: non_empty(request.conflict_strategy),
                backup: request.backup,
                iteration: request.iteration_context.map(Iteration::try_from).transpose()?,
                parameters: optional_text("parameters", request.parameters)?,
                solution: request.solution_metadata.map(Solution::from),
                auth_profile: non_empty(request.auth_profile),
                settings: from_settings(request.settings)?,
            },
        })
    }
}

impl From<Iteration> for proto::IterationContext {
    fn from(iteration: Iteration) -> Self {
        let Iteration { item, index, item_alias, index_alias } = iteration;
        Self { item: to_optional_bytes(item), index, item_alias, index_alias }
    }
}

impl TryFrom<proto::IterationContext> for Iteration {
    type Error = ConvertError;

    fn try_from(iteration: proto::IterationContext) -> Result<Self, ConvertError> {
        let proto::IterationContext { item, index, item_alias, index_alias } = iteration;
        Ok(Self { item: optional_text("iteration item", item)?, index, item_alias, index_alias })
    }
}

impl From<Solution> for proto::SolutionMeta {
    fn from(solution: Solution) -> Self {
        let Solution { name, version, display_name, description, category, tags, source } = solution;
        Self { name, version, display_name, description, category, tags, source }
    }
}

impl From<proto::SolutionMeta> for Solution {
    fn from(solution: proto::SolutionMeta) -> Self {
        let proto::SolutionMeta { name, version, display_name, description, category, tags, source } =
            solution;
        Self { name, version, display_name, description, category, tags, source }
    }
}

/// One message of a streaming execution. The reader decides which of them ends the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamItem {
    /// What the provider wrote to its standard output.
    Stdout(Bytes),
    /// What it wrote to its standard error.
    Stderr(Bytes),
    /// The result of the execution, or the plugin's refusal.
    Result(Answer<Output>),
    /// A message of a later contract.
    Unknown,
}

impl TryFrom<proto::ExecuteProviderStreamChunk> for StreamItem {
    type Error = ConvertError;

    fn try_from(chunk: proto::ExecuteProviderStreamChunk) -> Result<Self, ConvertError> {
        Ok(match chunk.chunk {
            Some(Payload::Stdout(bytes)) => Self::Stdout(bytes),
            Some(Payload::Stderr(bytes)) => Self::Stderr(bytes),
            Some(Payload::Result(response)) => Self::Result(response.try_into()?),
            None => Self::Unknown,
        })
    }
}

impl From<StreamItem> for proto::ExecuteProviderStreamChunk {
    fn from(item: StreamItem) -> Self {
        Self {
            chunk: match item {
                StreamItem::Stdout(bytes) => Some(Payload::Stdout(bytes)),
                StreamItem::Stderr(bytes) => Some(Payload::Stderr(bytes)),
                StreamItem::Result(answer) => Some(Payload::Result(answer.into())),
                StreamItem::Unknown => None,
            },
        }
    }
}

impl TryFrom<proto::DescribeWhatIfResponse> for Answer<String> {
    type Error = ConvertError;

    fn try_from(response: proto::DescribeWhatIfResponse) -> Result<Self, ConvertError> {
        let proto::DescribeWhatIfResponse { description, error, diagnostics } = response;
        answer(error, 0, diagnostics, |_| Ok(description))
    }
}

impl From<Answer<String>> for proto::DescribeWhatIfResponse {
    fn from(answer: Answer<String>) -> Self {
        let (description, error, diagnostics) = answer.split();
        Self { description, error, diagnostics }
    }
}

impl TryFrom<proto::ExtractDependenciesResponse> for Answer<Vec<String>> {
    type Error = ConvertError;

    fn try_from(response: proto::ExtractDependenciesResponse) -> Result<Self, ConvertError> {
        let proto::ExtractDependenciesResponse { dependencies, error, diagnostics } = response;
        answer(error, 0, diagnostics, |_| Ok(dependencies))
    }
}

impl From<Answer<Vec<String>>> for proto::ExtractDependenciesResponse {
    fn from(answer: Answer<Vec<String>>) -> Self {
        let (dependencies, error, diagnostics) = answer.split();
        Self { dependencies, error, diagnostics }
    }
}

impl TryFrom<proto::StopProviderResponse> for Answer<()> {
    type Error = ConvertError;

    fn try_from(response: proto::StopProviderResponse) -> Result<Self, ConvertError> {
        answer(response.error, 0, Vec::new(), |_| Ok(()))
    }
}

impl From<Answer<()>> for proto::StopProviderResponse {
    fn from(answer: Answer<()>) -> Self {
        Self { error: answer.split_words().1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Diagnostic, Refusal, Severity};

    fn json(text: &str) -> Json {
        Json::from_text(text)
    }

    fn settings(value: &str) -> Settings {
        [("one".to_owned(), json(value)), ("two".to_owned(), json("-0"))].into()
    }

    fn configure() -> Configure {
        Configure {
            provider: ProviderName::new("name"),
            configuration: Configuration {
                quiet: true,
                no_color: true,
                binary_name: "binary".to_owned(),
                settings: settings("1.0"),
                profile: Some("profile".to_owned()),
                prompts_for_response: false,
            },
            host_service: NonZeroU32::new(7),
            protocol_version: 2,
        }
    }

    fn execute() -> Execute {
        Execute {
            provider: ProviderName::new("name"),
            input: json(r#"{"n":9007199254740993,"n":1e400}"#),
            context: Context {
                context: Some(json(r#"{"resolverContext":{"a":1.0}}"#)),
                dry_run: true,
                mode: Some(Capability::TRANSFORM),
                working_directory: Some("working".to_owned()),
                output_directory: Some("output".to_owned()),
                conflict_strategy: Some("skip".to_owned()),
                backup: true,
                iteration: Some(Iteration {
                    item: Some(json("[-0]")),
                    index: 3,
                    item_alias: "item".to_owned(),
                    index_alias: "index".to_owned(),
                }),
                parameters: Some(json(r#"{"p":1}"#)),
                solution: Some(Solution {
                    name: "s".to_owned(),
                    version: "1.0.0".to_owned(),
                    display_name: "display".to_owned(),
                    description: "description".to_owned(),
                    category: "category".to_owned(),
                    tags: vec!["t1".to_owned(), "t2".to_owned()],
                    source: "source".to_owned(),
                }),
                auth_profile: Some("account".to_owned()),
                settings: settings("1e400"),
            },
        }
    }

    #[test]
    fn every_field_of_a_configure_request_survives_both_ways() {
        let message = proto::ConfigureProviderRequest::from(configure());
        let back = Configure::try_from(message.clone()).expect("what leaves us can be read");
        assert_eq!(back, configure());
        assert_eq!(proto::ConfigureProviderRequest::from(back), message);

        let nothing = proto::ConfigureProviderRequest::default();
        let read = Configure::try_from(nothing.clone()).expect("nothing can be read");
        assert_eq!(read.configuration, Configuration::default());
        assert_eq!(proto::ConfigureProviderRequest::from(read), nothing);
    }

    #[test]
    fn every_field_of_an_execute_request_survives_both_ways() {
        let message = proto::ExecuteProviderRequest::from(execute());
        let back = Execute::try_from(message.clone()).expect("what leaves us can be read");
        assert_eq!(back, execute());
        assert_eq!(proto::ExecuteProviderRequest::from(back), message);
    }

    /// Contract items 37, 93 and 94.
    #[test]
    fn what_is_absent_stays_absent_and_a_context_is_always_sent() {
        let bare = Execute::new(ProviderName::new("n"), Json::null());
        let message = proto::ExecuteProviderRequest::from(bare.clone());
        assert_eq!(message.input, "null");
        assert_eq!(message.context, "{}");
        assert!(message.parameters.is_empty() && message.iteration_context.is_none());
        assert_eq!(Execute::try_from(message).expect("it can be read"), bare);

        let mut message =
            proto::ExecuteProviderRequest { provider_name: "n".to_owned(), ..Default::default() };
        assert_eq!(Execute::try_from(message.clone()).expect("it can be read"), bare);
        message.iteration_context = Some(proto::IterationContext::default());
        message.solution_metadata = Some(proto::SolutionMeta::default());
        let read = Execute::try_from(message).expect("it can be read").context;
        assert_eq!(read.iteration, Some(Iteration::default()));
        assert_eq!(read.solution, Some(Solution::default()));
    }

    #[test]
    fn json_that_is_no_text_is_refused_by_the_name_of_its_field() {
        let bad = || Bytes::from_static(b"\xff");
        let check = |change: &dyn Fn(&mut proto::ExecuteProviderRequest), expected: &str| {
            let mut message = proto::ExecuteProviderRequest::from(execute());
            change(&mut message);
            let error = Execute::try_from(message).expect_err("a field is no text");
            assert_eq!(error.to_string(), expected);
        };
        check(&|m| m.input = bad(), "input is not UTF-8");
        check(&|m| m.context = bad(), "context is not UTF-8");
        check(&|m| m.parameters = bad(), "parameters is not UTF-8");
        check(&|m| drop(m.settings.insert("x".to_owned(), bad())), "settings is not UTF-8");
        check(
            &|m| m.iteration_context.as_mut().expect("it is full").item = bad(),
            "iteration item is not UTF-8",
        );
    }

    /// Contract item 107.
    #[test]
    fn an_exit_code_without_an_error_says_nothing() {
        let output = "{\"data\":1}".into();
        let response = proto::ExecuteProviderResponse { output, exit_code: 7, ..Default::default() };
        let Ok(Answer(Ok(output))) = Answer::<Output>::try_from(response) else { panic!("it is an answer") };
        assert_eq!(output.data.as_str(), "1");
    }

    fn refusal() -> Refusal {
        let diagnostic =
            Diagnostic { severity: Severity::Warning, summary: "w".to_owned(), ..Default::default() };
        Refusal { diagnostics: vec![diagnostic], ..Refusal::new("no") }
    }

    fn check<M, T>(contract: Answer<T>)
    where
        M: From<Answer<T>> + Clone + PartialEq + std::fmt::Debug,
        T: Clone + PartialEq + std::fmt::Debug,
        Answer<T>: TryFrom<M, Error = ConvertError>,
    {
        let message = M::from(contract.clone());
        let back = Answer::<T>::try_from(message.clone()).expect("what leaves us can be read");
        assert_eq!(back, contract);
        assert_eq!(M::from(back), message);
    }

    #[test]
    fn every_small_answer_survives_both_ways() {
        check::<proto::ConfigureProviderResponse, _>(Answer(Ok(())));
        check::<proto::ConfigureProviderResponse, ()>(Answer(Err(refusal())));
        check::<proto::DescribeWhatIfResponse, _>(Answer(Ok("would".to_owned())));
        check::<proto::DescribeWhatIfResponse, String>(Answer(Err(refusal())));
        check::<proto::ExtractDependenciesResponse, _>(Answer(Ok(vec!["a".to_owned(), "b".to_owned()])));
        check::<proto::ExtractDependenciesResponse, Vec<String>>(Answer(Err(refusal())));
        check::<proto::StopProviderResponse, _>(Answer(Ok(())));
        check::<proto::StopProviderResponse, ()>(Answer(Err(Refusal::new("no"))));
    }

    /// Contract item 20.
    #[test]
    fn only_a_successful_configure_names_a_version() {
        assert_eq!(proto::ConfigureProviderResponse::from(Answer(Ok(()))).protocol_version, 2);
        let failed = proto::ConfigureProviderResponse::from(Answer(Err(refusal())));
        assert_eq!(failed.protocol_version, 0);
    }

    #[test]
    fn every_item_of_a_stream_survives_both_ways() {
        let items = [
            StreamItem::Stdout(Bytes::from_static(b"\xff\n")),
            StreamItem::Stderr(Bytes::new()),
            StreamItem::Result(Answer(Ok(Output::new(json("1.0"))))),
            StreamItem::Result(Answer(Err(Refusal { exit_code: Some(3), ..refusal() }))),
            StreamItem::Unknown,
        ];
        for item in items {
            let message = proto::ExecuteProviderStreamChunk::from(item.clone());
            let back = StreamItem::try_from(message.clone()).expect("what leaves us can be read");
            assert_eq!(back, item);
            assert_eq!(proto::ExecuteProviderStreamChunk::from(back), message);
        }
    }
}
