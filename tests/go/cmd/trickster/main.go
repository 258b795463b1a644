// Command trickster is an auth handler plugin that does what the published SDK keeps its authors from.
//
// It offers two handlers of the name trickster and one without a name. What a login does is the tenant's:
//
//	| tenant      | What the stream brings                                                 |
//	|-------------|------------------------------------------------------------------------|
//	| nothing     | a prompt and a clean end                                               |
//	| twice       | two results, of which the second says so in its name, and an error     |
//	| late        | an error, and then a result                                            |
//	| unknown     | a message without payload, and then a result                           |
//	| mute        | an error without words                                                 |
//	| status      | a prompt, and then the status Unknown, `out of breath`                 |
//	| denied      | the status PermissionDenied, `not you`, at once                        |
//	| go-zero     | a result whose every time is Go's zero time                            |
//	| another     | a result; its claims' name is the request, as JSON                     |
//
// A status and a token have the request, as JSON, for a reason and an access token; the status of the
// profile `denied` is PermissionDenied. Of cached tokens there is one for each part of the request. Purging
// forgets -1 tokens. The token of scope `go-zero` has Go's zero time wherever there is a time; that of the
// scope `asked` says how often the handlers were asked for, and so does the second one's display name. A
// configuration is refused with what came, as JSON.
package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/portcullis-host/portcullis/tests/go/pluginpb"
	"github.com/portcullis-host/portcullis/tests/go/serve"
)

// goZero is the Unix time of Go's zero time.
const goZero = -62135596800

type trickster struct {
	pluginpb.UnimplementedAuthHandlerServiceServer
	asked atomic.Int32
}

func text(message proto.Message) string {
	text, err := protojson.Marshal(message)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (t *trickster) GetAuthHandlers(
	context.Context, *pluginpb.GetAuthHandlersRequest,
) (*pluginpb.GetAuthHandlersResponse, error) {
	return &pluginpb.GetAuthHandlersResponse{Handlers: []*pluginpb.AuthHandlerInfo{
		{Name: "trickster"},
		{Name: "trickster", DisplayName: fmt.Sprintf("asked %d times", t.asked.Add(1))},
		{},
	}}, nil
}

func (t *trickster) Login(request *pluginpb.LoginRequest, stream pluginpb.AuthHandlerService_LoginServer) error {
	result := func(name string) *pluginpb.LoginStreamMessage {
		result := &pluginpb.LoginResult{Claims: &pluginpb.Claims{Name: name}}
		return &pluginpb.LoginStreamMessage{Payload: &pluginpb.LoginStreamMessage_Result{Result: result}}
	}
	failure := func(text string) *pluginpb.LoginStreamMessage {
		return &pluginpb.LoginStreamMessage{Payload: &pluginpb.LoginStreamMessage_Error{Error: text}}
	}
	prompt := &pluginpb.LoginStreamMessage{Payload: &pluginpb.LoginStreamMessage_DeviceCodePrompt{
		DeviceCodePrompt: &pluginpb.DeviceCodePrompt{UserCode: "T-1"},
	}}
	var messages []*pluginpb.LoginStreamMessage
	var end error
	switch request.GetTenantId() {
	case "nothing":
		messages = append(messages, prompt)
	case "twice":
		messages = append(messages, result("first"), result("second"), failure("third"))
	case "late":
		messages = append(messages, failure("too late"), result("later"))
	case "unknown":
		messages = append(messages, &pluginpb.LoginStreamMessage{}, result("known"))
	case "mute":
		messages = append(messages, failure(""))
	case "status":
		messages = append(messages, prompt)
		end = status.Error(codes.Unknown, "out of breath")
	case "denied":
		end = status.Error(codes.PermissionDenied, "not you")
	case "go-zero":
		zero := result("zero")
		zero.GetResult().ExpiresAtUnix = goZero
		zero.GetResult().Claims.IssuedAtUnix = goZero
		zero.GetResult().Claims.ExpiresAtUnix = goZero
		messages = append(messages, zero)
	default:
		messages = append(messages, result(text(request)))
	}
	for _, message := range messages {
		// Whoever reads no further has heard enough.
		if stream.Send(message) != nil {
			return nil
		}
	}
	return end
}

func (t *trickster) GetStatus(
	_ context.Context, request *pluginpb.GetStatusRequest,
) (*pluginpb.GetStatusResponse, error) {
	if request.GetProfile() == "denied" {
		return nil, status.Error(codes.PermissionDenied, "not you")
	}
	return &pluginpb.GetStatusResponse{
		Reason: text(request), ExpiresAtUnix: goZero, LastRefreshUnix: goZero,
	}, nil
}

func (t *trickster) GetToken(
	_ context.Context, request *pluginpb.GetTokenRequest,
) (*pluginpb.GetTokenResponse, error) {
	token := &pluginpb.GetTokenResponse{AccessToken: text(request)}
	switch request.GetScope() {
	case "go-zero":
		token.ExpiresAtUnix, token.CachedAtUnix = goZero, goZero
	case "asked":
		token.AccessToken = fmt.Sprintf("asked %d times", t.asked.Load())
	}
	return token, nil
}

func (t *trickster) ListCachedTokens(
	_ context.Context, request *pluginpb.ListCachedTokensRequest,
) (*pluginpb.ListCachedTokensResponse, error) {
	return &pluginpb.ListCachedTokensResponse{Tokens: []*pluginpb.CachedTokenInfo{
		{Handler: request.GetHandlerName(), ExpiresAtUnix: goZero, CachedAtUnix: goZero},
		{Handler: request.GetProfile()},
	}}, nil
}

func (t *trickster) PurgeExpiredTokens(
	context.Context, *pluginpb.PurgeExpiredTokensRequest,
) (*pluginpb.PurgeExpiredTokensResponse, error) {
	return &pluginpb.PurgeExpiredTokensResponse{PurgedCount: -1}, nil
}

func (t *trickster) ConfigureAuthHandler(
	_ context.Context, request *pluginpb.ConfigureAuthHandlerRequest,
) (*pluginpb.ConfigureAuthHandlerResponse, error) {
	return &pluginpb.ConfigureAuthHandlerResponse{Error: text(request)}, nil
}

func main() {
	tricks := &trickster{}
	serve.ServeAuthAny(map[int]serve.Register{
		2: func(_ *plugin.GRPCBroker, registrar *grpc.Server) {
			pluginpb.RegisterAuthHandlerServiceServer(registrar, tricks)
		},
	})
}
