package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/portcullis-host/portcullis/tests/go/pluginpb"
)

// AuthPlugin is what an author of auth handlers writes, in the messages of the wire. Calls may overlap.
// A name that was never listed is the author's to refuse; see [UnknownHandler].
type AuthPlugin interface {
	Handlers(ctx context.Context) ([]*pluginpb.AuthHandlerInfo, error)
	Configure(ctx context.Context, handler string, configuration Configuration) error
	// Login shows a person what they have to see by calling show, never twice at a time.
	Login(
		ctx context.Context, request *pluginpb.LoginRequest, show func(*pluginpb.DeviceCodePrompt),
	) (*pluginpb.LoginResult, error)
	Logout(ctx context.Context, request *pluginpb.LogoutRequest) error
	Status(ctx context.Context, request *pluginpb.GetStatusRequest) (*pluginpb.GetStatusResponse, error)
	Token(ctx context.Context, request *pluginpb.GetTokenRequest) (*pluginpb.GetTokenResponse, error)
	CachedTokens(ctx context.Context, request *pluginpb.ListCachedTokensRequest) ([]*pluginpb.CachedTokenInfo, error)
	PurgeExpired(ctx context.Context, request *pluginpb.PurgeExpiredTokensRequest) (int, error)
	Stop(ctx context.Context, handler string) error
	DetectFlows(ctx context.Context, handler string) ([]*pluginpb.FlowAvailability, error)
	ActivateServerMode(ctx context.Context, settings json.RawMessage) error
}

// UnknownHandler is the error for a name that the plugin does not know.
func UnknownHandler(name string) error { return errors.New("unknown handler: " + name) }

// AuthHandshake is how an auth handler plugin and its host recognise each other. The version is that of
// the releases up to SDK v0.4.0.
var AuthHandshake = plugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "SCAFCTL_AUTH_PLUGIN",
	MagicCookieValue: "scafctl_auth_handler_plugin",
}

// AuthPluginName is the name under which a host asks for the auth handler service.
const AuthPluginName = "auth-handler"

// Generation is what a release of the contract had for calls of an auth handler.
type Generation int

const (
	// Oldest has neither configuration nor a way to stop.
	Oldest Generation = iota
	// Older has no calls of the later wire, and no way back to the host.
	Older
	// Later has everything.
	Later
)

// ServeAuth serves the plugin until the host ends it, in each of these versions of the handshake as that
// generation. Never returns.
func ServeAuth(implementation AuthPlugin, versions map[int]Generation) {
	registers := map[int]Register{}
	for version, generation := range versions {
		registers[version] = func(broker *plugin.GRPCBroker, registrar *grpc.Server) {
			server := &authServer{plugin: implementation}
			if generation == Later {
				server.broker = broker
			}
			registrar.RegisterService(generation.service(), server)
		}
	}
	ServeAuthAny(registers)
}

// ServeAuthAny serves whatever register puts on the server, under the cookie of an auth handler plugin
// and in these versions of the handshake. Never returns.
func ServeAuthAny(registers map[int]Register) {
	plugins := map[int]plugin.PluginSet{}
	for version, register := range registers {
		plugins[version] = plugin.PluginSet{AuthPluginName: &grpcPlugin{register: register}}
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  AuthHandshake,
		VersionedPlugins: plugins,
		GRPCServer:       plugin.DefaultGRPCServer,
	})
}

// service returns the service with the calls that this generation knew; the server answers the others
// with Unimplemented.
func (g Generation) service() *grpc.ServiceDesc {
	service := pluginpb.AuthHandlerService_ServiceDesc
	later := []string{"DetectAvailableFlows", "ActivateServerMode"}
	newer := []string{"ConfigureAuthHandler", "StopAuthHandler"}
	service.Methods = slices.DeleteFunc(slices.Clone(service.Methods), func(method grpc.MethodDesc) bool {
		return g < Later && slices.Contains(later, method.MethodName) ||
			g < Older && slices.Contains(newer, method.MethodName)
	})
	return &service
}

// authServer puts an [AuthPlugin] on the wire. Errors travel as contract spec 3.1 lists them.
type authServer struct {
	pluginpb.UnimplementedAuthHandlerServiceServer
	wayBack
	plugin AuthPlugin
}

func (s *authServer) GetAuthHandlers(
	ctx context.Context, _ *pluginpb.GetAuthHandlersRequest,
) (*pluginpb.GetAuthHandlersResponse, error) {
	handlers, err := s.plugin.Handlers(ctx)
	if err != nil {
		return nil, fmt.Errorf("GetAuthHandlers: %w", err)
	}
	return &pluginpb.GetAuthHandlersResponse{Handlers: handlers}, nil
}

// ConfigureAuthHandler drops the host for the whole process when the author refuses.
func (s *authServer) ConfigureAuthHandler(
	ctx context.Context, request *pluginpb.ConfigureAuthHandlerRequest,
) (*pluginpb.ConfigureAuthHandlerResponse, error) {
	if s.broker != nil {
		if err := s.dial(request.GetHostServiceId()); err != nil {
			text := fmt.Sprintf("failed to dial host service: %v", err)
			return &pluginpb.ConfigureAuthHandlerResponse{Error: text}, nil
		}
	}
	err := s.plugin.Configure(s.withHost(ctx), request.GetHandlerName(), Configuration{
		Quiet:              request.GetQuiet(),
		NoColor:            request.GetNoColor(),
		BinaryName:         request.GetBinaryName(),
		Profile:            request.GetProfile(),
		PromptsForResponse: request.GetHostCapabilities().GetPromptAuthResponse(),
		Settings:           rawSettings(request.GetSettings()),
	})
	if err != nil {
		s.forget()
		text, _, diagnostics := told(err)
		return &pluginpb.ConfigureAuthHandlerResponse{Error: text, Diagnostics: diagnostics}, nil
	}
	return &pluginpb.ConfigureAuthHandlerResponse{ProtocolVersion: protocolVersion}, nil
}

// Login sends prompts until one cannot be sent; then the rest are dropped and the author is not told.
func (s *authServer) Login(request *pluginpb.LoginRequest, stream pluginpb.AuthHandlerService_LoginServer) error {
	broken := false
	show := func(prompt *pluginpb.DeviceCodePrompt) {
		if !broken {
			payload := &pluginpb.LoginStreamMessage_DeviceCodePrompt{DeviceCodePrompt: prompt}
			broken = stream.Send(&pluginpb.LoginStreamMessage{Payload: payload}) != nil
		}
	}
	result, err := s.plugin.Login(s.withHost(stream.Context()), request, show)
	if err == nil && result == nil {
		err = errors.New("plugin returned nil login result")
	}
	if err != nil {
		payload := &pluginpb.LoginStreamMessage_Error{Error: err.Error()}
		return stream.Send(&pluginpb.LoginStreamMessage{Payload: payload})
	}
	payload := &pluginpb.LoginStreamMessage_Result{Result: result}
	return stream.Send(&pluginpb.LoginStreamMessage{Payload: payload})
}

func (s *authServer) Logout(
	ctx context.Context, request *pluginpb.LogoutRequest,
) (*pluginpb.LogoutResponse, error) {
	if err := s.plugin.Logout(s.withHost(ctx), request); err != nil {
		return nil, about("Logout", request, err)
	}
	return &pluginpb.LogoutResponse{}, nil
}

func (s *authServer) GetStatus(
	ctx context.Context, request *pluginpb.GetStatusRequest,
) (*pluginpb.GetStatusResponse, error) {
	status, err := s.plugin.Status(s.withHost(ctx), request)
	if err != nil {
		return nil, about("GetStatus", request, err)
	}
	return orEmpty(status), nil
}

func (s *authServer) GetToken(
	ctx context.Context, request *pluginpb.GetTokenRequest,
) (*pluginpb.GetTokenResponse, error) {
	token, err := s.plugin.Token(s.withHost(ctx), request)
	if err != nil {
		return nil, about("GetToken", request, err)
	}
	return orEmpty(token), nil
}

func (s *authServer) ListCachedTokens(
	ctx context.Context, request *pluginpb.ListCachedTokensRequest,
) (*pluginpb.ListCachedTokensResponse, error) {
	tokens, err := s.plugin.CachedTokens(s.withHost(ctx), request)
	if err != nil {
		return nil, about("ListCachedTokens", request, err)
	}
	for index, token := range tokens {
		tokens[index] = orEmpty(token)
	}
	return &pluginpb.ListCachedTokensResponse{Tokens: tokens}, nil
}

func (s *authServer) PurgeExpiredTokens(
	ctx context.Context, request *pluginpb.PurgeExpiredTokensRequest,
) (*pluginpb.PurgeExpiredTokensResponse, error) {
	count, err := s.plugin.PurgeExpired(s.withHost(ctx), request)
	if err != nil {
		return nil, about("PurgeExpiredTokens", request, err)
	}
	return &pluginpb.PurgeExpiredTokensResponse{PurgedCount: int32(min(count, math.MaxInt32))}, nil
}

// StopAuthHandler, when it succeeds, drops the host for the whole process, whichever handler it named.
func (s *authServer) StopAuthHandler(
	ctx context.Context, request *pluginpb.StopAuthHandlerRequest,
) (*pluginpb.StopAuthHandlerResponse, error) {
	if err := s.plugin.Stop(ctx, request.GetHandlerName()); err != nil {
		return &pluginpb.StopAuthHandlerResponse{Error: err.Error()}, nil
	}
	s.forget()
	return &pluginpb.StopAuthHandlerResponse{}, nil
}

func (s *authServer) DetectAvailableFlows(
	ctx context.Context, request *pluginpb.DetectAvailableFlowsRequest,
) (*pluginpb.DetectAvailableFlowsResponse, error) {
	flows, err := s.plugin.DetectFlows(s.withHost(ctx), request.GetHandlerName())
	if err != nil {
		return &pluginpb.DetectAvailableFlowsResponse{Error: err.Error()}, nil
	}
	return &pluginpb.DetectAvailableFlowsResponse{Flows: flows}, nil
}

func (s *authServer) ActivateServerMode(
	ctx context.Context, request *pluginpb.ActivateServerModeRequest,
) (*pluginpb.ActivateServerModeResponse, error) {
	if err := s.plugin.ActivateServerMode(s.withHost(ctx), request.GetSettings()); err != nil {
		return &pluginpb.ActivateServerModeResponse{Error: err.Error()}, nil
	}
	return &pluginpb.ActivateServerModeResponse{}, nil
}

// about says which call failed, and for which handler.
func about(call string, request interface{ GetHandlerName() string }, err error) error {
	return fmt.Errorf("%s %q: %w", call, request.GetHandlerName(), err)
}

// orEmpty makes an empty message of none at all.
func orEmpty[Message any](message *Message) *Message {
	if message == nil {
		return new(Message)
	}
	return message
}
