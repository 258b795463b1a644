//! The messages of the scafctl plugin contract, and the gRPC clients and servers that carry them.
//!
//! Everything is generated from `plugin.proto`; fields of type `bytes` are [`prost::bytes::Bytes`].
//! What the messages mean, and which of them are believed, is for others to say: nothing here checks
//! anything.

#![expect(missing_docs, reason = "the fields of generated messages are described in `plugin.proto`")]
#![expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code silences what it does not promise"
)]

mod codec;

tonic::include_proto!("plugin");

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use prost::Message;

    use super::{
        CachedTokenInfo, Claims, ConfigureAuthHandlerRequest, ConfigureAuthHandlerResponse,
        ConfigureProviderRequest, ExecuteProviderRequest, ExecuteProviderStreamChunk, GetStatusResponse,
        GetTokenRequest, GetTokenResponse, HostCapabilities, LoginRequest, LoginStreamMessage, Parameter,
        ProviderDescriptor, execute_provider_stream_chunk::Chunk, login_stream_message::Payload,
    };

    /// Asserts that `message` is these bytes on the wire and that these bytes are `message`.
    #[track_caller]
    fn check<M: Message + Default + Debug + PartialEq>(message: M, wire: &[u8]) {
        assert_eq!(message.encode_to_vec(), wire);
        assert_eq!(M::decode(wire).expect("what was encoded decodes"), message);
    }

    #[test]
    fn the_two_kinds_of_plugin_number_their_host_service_differently() {
        check(ConfigureProviderRequest { host_service_id: 7, ..Default::default() }, &[5 << 3, 7]);
        check(ConfigureAuthHandlerRequest { host_service_id: 7, ..Default::default() }, &[6 << 3, 7]);
    }

    #[test]
    fn two_byte_tags_are_upstreams() {
        let operations = ProviderDescriptor { write_operations: vec!["w".into()], ..Default::default() };
        check(operations, &[0xb2, 0x01, 1, b'w']);
        check(Parameter { has_exclusive_maximum: true, ..Default::default() }, &[0xa8, 0x01, 1]);
    }

    #[test]
    fn payloads_are_bytes_under_their_own_numbers() {
        check(ExecuteProviderRequest { parameters: "{}".into(), ..Default::default() }, b"\x5a\x02{}");
        check(ExecuteProviderStreamChunk { chunk: Some(Chunk::Stderr("e".into())) }, b"\x12\x01e");
    }

    /// Contract item 16. What both kinds of plugin share, and what came later, is where numbers go wrong.
    #[test]
    fn the_fields_of_auth_messages_are_under_upstreams_numbers() {
        check(ConfigureAuthHandlerRequest { protocol_version: 2, ..Default::default() }, &[7 << 3, 2]);
        check(ConfigureAuthHandlerRequest { profile: "p".into(), ..Default::default() }, b"\x42\x01p");
        let can = HostCapabilities { prompt_auth_response: true };
        let request = ConfigureAuthHandlerRequest { host_capabilities: Some(can), ..Default::default() };
        check(request, &[9 << 3 | 2, 2, 1 << 3, 1]);
        check(ConfigureAuthHandlerResponse { protocol_version: 2, ..Default::default() }, &[2 << 3, 2]);

        check(LoginRequest { timeout_seconds: 3, ..Default::default() }, &[5 << 3, 3]);
        check(LoginRequest { profile: "p".into(), ..Default::default() }, b"\x32\x01p");
        check(LoginRequest { hostname: "h".into(), ..Default::default() }, b"\x3a\x01h");
        check(LoginRequest { callback_port: 7, ..Default::default() }, &[8 << 3, 7]);
        check(LoginStreamMessage { payload: Some(Payload::Error("e".into())) }, b"\x1a\x01e");

        check(GetStatusResponse { reason: "r".into(), ..Default::default() }, b"\x52\x01r");
        check(GetStatusResponse { flow: "f".into(), ..Default::default() }, b"\x5a\x01f");
        check(GetStatusResponse { hostname: "h".into(), ..Default::default() }, b"\x62\x01h");

        check(GetTokenRequest { profile: "p".into(), ..Default::default() }, b"\x2a\x01p");
        check(GetTokenRequest { server_context: "s".into(), ..Default::default() }, b"\x32\x01s");
        check(GetTokenRequest { caller: "c".into(), ..Default::default() }, b"\x3a\x01c");
        check(GetTokenRequest { assertion: "a".into(), ..Default::default() }, b"\x42\x01a");
        check(GetTokenRequest { hostname: "h".into(), ..Default::default() }, b"\x4a\x01h");
        check(GetTokenResponse { session_id: "s".into(), ..Default::default() }, b"\x3a\x01s");

        check(CachedTokenInfo { is_expired: true, ..Default::default() }, &[8 << 3, 1]);
        check(CachedTokenInfo { fingerprint: "f".into(), ..Default::default() }, b"\x52\x01f");
        check(CachedTokenInfo { hostname: "h".into(), ..Default::default() }, b"\x5a\x01h");
        check(Claims { expires_at_unix: 1, ..Default::default() }, &[10 << 3, 1]);
    }

    /// Contract item 17.
    #[test]
    fn a_field_that_nobody_knows_yet_is_skipped_whatever_it_holds() {
        let expected = GetTokenRequest { handler_name: "h".into(), ..Default::default() };
        for later in [&[15 << 3, 1][..], &[15 << 3 | 2, 1, b'x'][..]] {
            let wire = [b"\x0a\x01h", later].concat();
            assert_eq!(GetTokenRequest::decode(&wire[..]).expect("an unknown field is skipped"), expected);
        }
    }
}
