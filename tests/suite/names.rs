//! What upstream's package offers to programs in Go has its place here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use portcullis_tests::TestResult;

/// The exported names of that package: those without methods first.
const NAMES: &str = "
    PluginName AuthHandlerPluginName PluginProtocolVersion HandshakeConfig AuthHandlerHandshakeConfig
    ErrStreamingNotSupported MockProviderPlugin CurrentPlatform KillAll KillAllAuthHandlers ParsePlatform
    Paths PlatformCacheKey Serve ServeAuthHandler DiscoverAuthHandlers NewAuthHandlerClient
    RegisterAuthHandlerPlugins RegisterFetchedAuthHandlerPlugins NewAuthHandlerWrapper NewCache Discover
    NewClient RegisterFetchedPlugins RegisterPluginProviders WithHostDeps NewFetcher NewHostServiceClient
    NewProviderWrapper WithContext AuthHandlerInfo AuthHandlerPlugin CachedPlugin ClientOption
    DeviceCodePrompt FetchResult FetcherConfig HandshakeConfigData HostServiceDeps LoginRequest
    LoginResponse LoginStreamMessage ProviderConfig ProviderPlugin StreamChunk TokenRequest TokenResponse
    WrapperOption
    AuthHandlerClient AuthHandlerClient.ConfigureAuthHandler AuthHandlerClient.GetAuthHandlers
    AuthHandlerClient.GetStatus AuthHandlerClient.GetToken AuthHandlerClient.HostServiceID
    AuthHandlerClient.Kill AuthHandlerClient.Login AuthHandlerClient.Logout AuthHandlerClient.Name
    AuthHandlerClient.Path AuthHandlerClient.StopAuthHandler
    AuthHandlerGRPCClient AuthHandlerGRPCClient.ConfigureAuthHandler AuthHandlerGRPCClient.GetAuthHandlers
    AuthHandlerGRPCClient.GetStatus AuthHandlerGRPCClient.GetToken AuthHandlerGRPCClient.ListCachedTokens
    AuthHandlerGRPCClient.Login AuthHandlerGRPCClient.Logout AuthHandlerGRPCClient.PurgeExpiredTokens
    AuthHandlerGRPCClient.StopAuthHandler
    AuthHandlerGRPCPlugin AuthHandlerGRPCPlugin.GRPCClient AuthHandlerGRPCPlugin.GRPCServer
    AuthHandlerGRPCServer AuthHandlerGRPCServer.ConfigureAuthHandler AuthHandlerGRPCServer.GetAuthHandlers
    AuthHandlerGRPCServer.GetStatus AuthHandlerGRPCServer.GetToken AuthHandlerGRPCServer.ListCachedTokens
    AuthHandlerGRPCServer.Login AuthHandlerGRPCServer.Logout AuthHandlerGRPCServer.PurgeExpiredTokens
    AuthHandlerGRPCServer.StopAuthHandler
    AuthHandlerWrapper AuthHandlerWrapper.Capabilities AuthHandlerWrapper.Client
    AuthHandlerWrapper.DisplayName AuthHandlerWrapper.GetToken AuthHandlerWrapper.InjectAuth
    AuthHandlerWrapper.ListCachedTokens AuthHandlerWrapper.Login AuthHandlerWrapper.Logout
    AuthHandlerWrapper.Name AuthHandlerWrapper.PurgeExpiredTokens AuthHandlerWrapper.Status
    AuthHandlerWrapper.SupportedFlows
    Cache Cache.Digest Cache.Dir Cache.Get Cache.List Cache.Put Cache.Remove
    Client Client.ConfigureProvider Client.DescribeWhatIf Client.ExecuteProvider
    Client.ExecuteProviderStream Client.ExtractDependencies Client.GetProviderDescriptor Client.GetProviders
    Client.Kill Client.Name Client.Path
    Fetcher Fetcher.FetchPlugins
    GRPCClient GRPCClient.ConfigureProvider GRPCClient.DescribeWhatIf GRPCClient.ExecuteProvider
    GRPCClient.ExecuteProviderStream GRPCClient.ExtractDependencies GRPCClient.GetProviderDescriptor
    GRPCClient.GetProviders GRPCClient.HostServiceID GRPCClient.StopProvider
    GRPCPlugin GRPCPlugin.GRPCClient GRPCPlugin.GRPCServer
    GRPCServer GRPCServer.ConfigureProvider GRPCServer.DescribeWhatIf GRPCServer.ExecuteProvider
    GRPCServer.ExecuteProviderStream GRPCServer.ExtractDependencies GRPCServer.GetProviderDescriptor
    GRPCServer.GetProviders GRPCServer.StopProvider
    HostServiceClient HostServiceClient.DeleteSecret HostServiceClient.GetAuthIdentity
    HostServiceClient.GetAuthToken HostServiceClient.GetSecret HostServiceClient.ListAuthHandlers
    HostServiceClient.ListSecrets HostServiceClient.SetSecret
    HostServiceServer HostServiceServer.DeleteSecret HostServiceServer.GetAuthIdentity
    HostServiceServer.GetAuthToken HostServiceServer.GetSecret HostServiceServer.ListAuthHandlers
    HostServiceServer.ListSecrets HostServiceServer.SetSecret
    ProviderWrapper ProviderWrapper.Client ProviderWrapper.Configure ProviderWrapper.Descriptor
    ProviderWrapper.Execute ProviderWrapper.ExecuteStream
";

#[test]
fn every_name_of_upstreams_package_has_a_row_that_says_what_takes_its_place() -> TestResult {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/README.md"))?;
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
    let told: BTreeSet<_> = rows.flat_map(|(first, _)| first.split([',', '`', ' '])).collect();
    let named: Vec<_> = NAMES.split_whitespace().collect();
    assert_eq!(named.len(), 160);
    let missing: Vec<_> = named.into_iter().filter(|name| !told.contains(name)).collect();
    assert!(missing.is_empty(), "no row in host/README.md: {missing:?}");
    Ok(())
}
