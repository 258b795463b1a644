//! The names under which people ask for a flow (contract spec 7.5).

use portcullis_contract::{Flow, HandlerInfo};

/// Words that people type, and what each means. What upstream writes with `_` may be written with `-`, or
/// as one word.
const SHORT: [(&str, Flow); 5] = [
    ("sp", Flow::SERVICE_PRINCIPAL),
    ("wi", Flow::WORKLOAD_IDENTITY),
    ("adc", Flow::GCLOUD_ADC),
    ("app", Flow::GITHUB_APP),
    ("cc", Flow::CLIENT_CREDENTIALS),
];

/// Reads the name of a flow, ignoring case. The empty name leaves the choice to the handler.
///
/// A flow that only the handler knows has to be given by the handler's own word.
///
/// # Errors
///
/// Upstream's sentence, and the flows that the handler knows.
pub fn parse(text: &str, handler: &HandlerInfo) -> Result<Option<Flow>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let lower = text.to_lowercase();
    let is_known = |flow: &&Flow| {
        let word = flow.as_str();
        lower == word || lower == word.replace('_', "-") || lower == word.replace('_', "")
    };
    let known = Flow::ALL.iter().find(is_known).cloned();
    let short = || SHORT.iter().find(|(word, _)| *word == lower).map(|(_, flow)| flow.clone());
    let own = || handler.flows.iter().find(|flow| flow.as_str() == text).cloned();
    known.or_else(short).or_else(own).map(Some).ok_or_else(|| {
        let known: Vec<_> = handler.flows.iter().map(Flow::as_str).collect();
        match known.as_slice() {
            [] => format!("unknown flow: {text}"),
            known => format!("unknown flow: {text} (valid: {})", known.join(", ")),
        }
    })
}

#[cfg(test)]
mod tests {
    use portcullis_contract::HandlerName;

    use super::*;

    fn check(text: &str, expected: Result<Option<&str>, &str>) {
        let handler = HandlerInfo {
            name: HandlerName::new("door"),
            display_name: String::new(),
            flows: vec![Flow::DEVICE_CODE, Flow::new("secret_knock")],
            capabilities: Vec::new(),
        };
        let found = parse(text, &handler);
        let found = found.as_ref().map(|flow| flow.as_ref().map(Flow::as_str)).map_err(String::as_str);
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn a_flow_has_the_names_that_upstream_takes() {
        check("", Ok(None));
        for (names, flow) in [
            (&["device_code", "device-code", "DeviceCode"][..], "device_code"),
            (&["interactive", "INTERACTIVE"], "interactive"),
            (&["service_principal", "service-principal", "serviceprincipal", "sp"], "service_principal"),
            (&["workload_identity", "workload-identity", "workloadidentity", "wi"], "workload_identity"),
            (&["pat"], "pat"),
            (&["metadata"], "metadata"),
            (&["gcloud_adc", "gcloud-adc", "gcloudadc", "adc"], "gcloud_adc"),
            (&["github_app", "github-app", "githubapp", "app"], "github_app"),
            (&["client_credentials", "client-credentials", "clientcredentials", "CC"], "client_credentials"),
        ] {
            for name in names {
                check(name, Ok(Some(flow)));
            }
        }
    }

    #[test]
    fn a_flow_of_the_handlers_own_is_asked_for_by_its_own_word() {
        // item 142
        check("secret_knock", Ok(Some("secret_knock")));
        check("fly", Err("unknown flow: fly (valid: device_code, secret_knock)"));
    }
}
