package serve

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portcullis-host/portcullis/tests/go/pluginpb"
)

// Host calls the host back. Its errors start with `host <Method>: `, whether the host or the wire
// failed.
type Host struct {
	client pluginpb.HostServiceClient
}

type hostKey struct{}

// HostOf returns the host of the call this context belongs to, or nil when the host offers nothing.
func HostOf(ctx context.Context) *Host {
	host, _ := ctx.Value(hostKey{}).(*Host)
	return host
}

func newHost(connection *grpc.ClientConn) *Host {
	return &Host{client: pluginpb.NewHostServiceClient(connection)}
}

// GetSecret returns a secret and whether there is one.
func (h *Host) GetSecret(ctx context.Context, name string) (string, bool, error) {
	answer, err := h.client.GetSecret(ctx, &pluginpb.GetSecretRequest{Name: name})
	if err := failed("GetSecret", err, answer.GetError()); err != nil {
		return "", false, err
	}
	return answer.GetValue(), answer.GetFound(), nil
}

// SetSecret stores a secret.
func (h *Host) SetSecret(ctx context.Context, name, value string) error {
	answer, err := h.client.SetSecret(ctx, &pluginpb.SetSecretRequest{Name: name, Value: value})
	return failed("SetSecret", err, answer.GetError())
}

// DeleteSecret forgets a secret.
func (h *Host) DeleteSecret(ctx context.Context, name string) error {
	answer, err := h.client.DeleteSecret(ctx, &pluginpb.DeleteSecretRequest{Name: name})
	return failed("DeleteSecret", err, answer.GetError())
}

// ListSecrets returns the names that match a pattern.
func (h *Host) ListSecrets(ctx context.Context, pattern string) ([]string, error) {
	answer, err := h.client.ListSecrets(ctx, &pluginpb.ListSecretsRequest{Pattern: pattern})
	if err := failed("ListSecrets", err, answer.GetError()); err != nil {
		return nil, err
	}
	return answer.GetNames(), nil
}

// AuthIdentity returns claims, or nil when nobody is logged in.
func (h *Host) AuthIdentity(ctx context.Context, handler, scope string) (*pluginpb.Claims, error) {
	request := &pluginpb.GetAuthIdentityRequest{HandlerName: handler, Scope: scope}
	answer, err := h.client.GetAuthIdentity(ctx, request)
	if err := failed("GetAuthIdentity", err, answer.GetError()); err != nil {
		return nil, err
	}
	return answer.GetClaims(), nil
}

// AuthHandlers returns the names of the handlers, and the default one.
func (h *Host) AuthHandlers(ctx context.Context) ([]string, string, error) {
	answer, err := h.client.ListAuthHandlers(ctx, &pluginpb.ListAuthHandlersRequest{})
	if err := failed("ListAuthHandlers", err, ""); err != nil {
		return nil, "", err
	}
	return answer.GetHandlerNames(), answer.GetDefaultHandler(), nil
}

// AuthToken returns the whole answer.
func (h *Host) AuthToken(
	ctx context.Context, request *pluginpb.GetAuthTokenRequest,
) (*pluginpb.GetAuthTokenResponse, error) {
	answer, err := h.client.GetAuthToken(ctx, request)
	if err := failed("GetAuthToken", err, answer.GetError()); err != nil {
		return nil, err
	}
	return answer, nil
}

// AuthGroups returns groups. A host that is too old to know the call has none.
func (h *Host) AuthGroups(ctx context.Context, handler string) ([]string, error) {
	answer, err := h.client.GetAuthGroups(ctx, &pluginpb.GetAuthGroupsRequest{HandlerName: handler})
	if status.Code(err) == codes.Unimplemented {
		return nil, nil
	}
	if err := failed("GetAuthGroups", err, answer.GetError()); err != nil {
		return nil, err
	}
	return answer.GetGroups(), nil
}

// PromptAuthResponse has the host ask a person. It fails with a status, which the error wraps.
func (h *Host) PromptAuthResponse(ctx context.Context, handler, url, redirect string) (string, error) {
	answer, err := h.client.PromptAuthResponse(ctx, &pluginpb.PromptAuthResponseRequest{
		HandlerName: handler, AuthorizationUrl: url, RedirectUri: redirect,
	})
	if err := failed("PromptAuthResponse", err, ""); err != nil {
		return "", err
	}
	return answer.GetValue(), nil
}

func failed(method string, transport error, answered string) error {
	switch {
	case transport != nil:
		return fmt.Errorf("host %s: %w", method, transport)
	case answered != "":
		return errors.New("host " + method + ": " + answered)
	default:
		return nil
	}
}
