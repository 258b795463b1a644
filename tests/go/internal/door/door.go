// Package door is an honest auth handler plugin, and every behaviour that its tests ask for. The guest
// `doorman` does the same, word for word.
//
// It offers two handlers: `door` ("Door"; flows device_code, interactive, pat; capabilities
// scopes_on_login, scopes_on_token_request, tenant_id, hostname, callback_port, flow_override,
// token_hostname), and `side` ("Side door"; flow secret_knock, no capability). Any other name is refused
// with `unknown handler: NAME`. Each remembers who is logged in, and the tokens that it gave out.
//
// A login of either, by its flow:
//
//	| flow        | What happens                                                                     |
//	|-------------|----------------------------------------------------------------------------------|
//	| none,       | one prompt, ABCD-1234; or by the tenant:                                         |
//	| device_code |   refuse: `login refused`                                                        |
//	|             |   crash: the process ends                                                        |
//	|             |   astray: a prompt that leads to http://door.example/device                      |
//	|             |   flood: 10000 prompts in place of the one, F-00000 and on                       |
//	|             |   two-prompts: a second one, EFGH-5678                                           |
//	|             |   never: the prompt, and nothing more until the caller gives up                  |
//	| interactive | asks the host for a person's answer, which becomes the username; `the host asks  |
//	|             | nobody` when the configuration did not promise one                               |
//	| pat         | the secret app.pat becomes the username; `no pat` when there is none             |
//	| another     | `flow not supported: FLOW`                                                       |
//
// The tenant no-claims leaves the claims out of the result.
//
// A token is `token-<n>-<scope>`; one of the same scope is given again unless a fresh one is forced. It
// is good until 1700003600, but one of the scope `forever` has no end. A scope that starts with `old` is
// expired, and purging forgets it. Logging out forgets who is in and the tokens; `side` cannot log out, and
// keeps a token of the account `kept`. A setting `fail` of true, or of the account that is meant, refuses a
// configuration. Server mode wants settings with a `port`. While nobody is in, the variable DOOR_TOKEN_FILE is
// shown as the file of a workload's token.
package door

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/portcullis-host/portcullis/tests/go/pluginpb"
	"github.com/portcullis-host/portcullis/tests/go/serve"
)

const (
	issuedAt  = 1700000000
	expiresAt = 1700003600
	session   = "sess-1"
	client    = "c-1"
	page      = "https://door.example/device"
)

// Doorman keeps both doors.
type Doorman struct {
	mutex  sync.Mutex
	states map[string]*state
}

// state is what one handler remembers.
type state struct {
	prompts bool
	visitor *visitor
	issued  int
	tokens  []*pluginpb.GetTokenResponse
}

// visitor is who is in, and how they came.
type visitor struct {
	claims *pluginpb.Claims
	login  *pluginpb.LoginRequest
	flow   string
}

// New makes a doorman with nobody logged in.
func New() *Doorman {
	return &Doorman{states: map[string]*state{"door": {}, "side": {}}}
}

// of returns the state of a handler; the caller holds the lock.
func (d *Doorman) of(handler string) (*state, error) {
	if state := d.states[handler]; state != nil {
		return state, nil
	}
	return nil, serve.UnknownHandler(handler)
}

// account returns the state of a handler for one of its accounts, of which side has lost one.
func (d *Doorman) account(request interface {
	GetHandlerName() string
	GetProfile() string
}) (*state, error) {
	if request.GetHandlerName() == "side" && request.GetProfile() == "lost" {
		return nil, errors.New("side lost that account")
	}
	return d.of(request.GetHandlerName())
}

// Handlers names both doors.
func (d *Doorman) Handlers(context.Context) ([]*pluginpb.AuthHandlerInfo, error) {
	return []*pluginpb.AuthHandlerInfo{
		{
			Name:        "door",
			DisplayName: "Door",
			Flows:       []string{"device_code", "interactive", "pat"},
			Capabilities: []string{
				"scopes_on_login", "scopes_on_token_request", "tenant_id", "hostname", "callback_port",
				"flow_override", "token_hostname",
			},
		},
		{Name: "side", DisplayName: "Side door", Flows: []string{"secret_knock"}},
	}, nil
}

// Configure remembers whether the host can ask a person.
func (d *Doorman) Configure(_ context.Context, handler string, configuration serve.Configuration) error {
	if fail := string(configuration.Settings["fail"]); fail == "true" || fail == strconv.Quote(configuration.Profile) {
		return errors.New("configure refused")
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	state, err := d.of(handler)
	if err != nil {
		return err
	}
	state.prompts = configuration.PromptsForResponse
	return nil
}

// Login opens a door.
func (d *Doorman) Login(
	ctx context.Context, request *pluginpb.LoginRequest, show func(*pluginpb.DeviceCodePrompt),
) (*pluginpb.LoginResult, error) {
	d.mutex.Lock()
	state, err := d.of(request.GetHandlerName())
	prompts := err == nil && state.prompts
	d.mutex.Unlock()
	if err != nil {
		return nil, err
	}
	flow, username := cmp.Or(request.GetFlow(), "device_code"), "ada"
	switch flow {
	case "device_code":
		err = knock(ctx, request.GetTenantId(), show)
	case "interactive":
		username, err = ask(ctx, prompts, request)
	case "pat":
		username, err = pat(ctx)
	default:
		err = errors.New("flow not supported: " + flow)
	}
	if err != nil {
		return nil, err
	}
	var claims *pluginpb.Claims
	if request.GetTenantId() != "no-claims" {
		claims = &pluginpb.Claims{
			Issuer:       "https://door.example",
			Subject:      "s-1",
			TenantId:     request.GetTenantId(),
			ClientId:     client,
			Email:        "ada@door.example",
			Name:         "Ada",
			Username:     username,
			IssuedAtUnix: issuedAt,
		}
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	state.visitor = &visitor{claims: claims, login: request, flow: flow}
	return &pluginpb.LoginResult{Claims: claims, ExpiresAtUnix: expiresAt}, nil
}

// knock shows the codes of a login.
func knock(ctx context.Context, tenant string, show func(*pluginpb.DeviceCodePrompt)) error {
	uri := page
	if tenant == "astray" {
		uri = "http://door.example/device"
	}
	code := func(code string) {
		show(&pluginpb.DeviceCodePrompt{UserCode: code, VerificationUri: uri, Message: "Enter " + code})
	}
	switch tenant {
	case "refuse":
		return errors.New("login refused")
	case "crash":
		fmt.Fprintln(os.Stderr, "the door fell on me")
		os.Exit(3)
	case "flood":
		for n := range 10000 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			code(fmt.Sprintf("F-%05d", n))
		}
		return nil
	}
	code("ABCD-1234")
	if tenant == "two-prompts" {
		code("EFGH-5678")
	}
	if tenant == "never" {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// ask has the host ask a person.
func ask(ctx context.Context, prompts bool, request *pluginpb.LoginRequest) (string, error) {
	host := serve.HostOf(ctx)
	if !prompts || host == nil {
		return "", errors.New("the host asks nobody")
	}
	redirect := fmt.Sprintf("http://127.0.0.1:%d/", request.GetCallbackPort())
	return host.PromptAuthResponse(ctx, request.GetHandlerName(), "https://door.example/authorize", redirect)
}

// pat reads a token that a person made before.
func pat(ctx context.Context) (string, error) {
	host := serve.HostOf(ctx)
	if host == nil {
		return "", errors.New("host GetSecret: secret store not available")
	}
	value, found, err := host.GetSecret(ctx, "app.pat")
	if err == nil && !found {
		err = errors.New("no pat")
	}
	return value, err
}

// Logout closes the door.
func (d *Doorman) Logout(_ context.Context, request *pluginpb.LogoutRequest) error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	state, err := d.of(request.GetHandlerName())
	if err != nil {
		return err
	}
	if request.GetHandlerName() == "side" {
		return errors.New("side cannot log out")
	}
	state.visitor, state.tokens = nil, nil
	return nil
}

// Status says who is in.
func (d *Doorman) Status(
	_ context.Context, request *pluginpb.GetStatusRequest,
) (*pluginpb.GetStatusResponse, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	state, err := d.account(request)
	if err != nil {
		return nil, err
	}
	if state.visitor == nil {
		return &pluginpb.GetStatusResponse{
			Reason:       "not logged in",
			IdentityType: "workload-identity",
			TokenFile:    os.Getenv("DOOR_TOKEN_FILE"),
		}, nil
	}
	return &pluginpb.GetStatusResponse{
		Authenticated: true,
		Claims:        state.visitor.claims,
		ExpiresAtUnix: expiresAt,
		TenantId:      state.visitor.login.GetTenantId(),
		IdentityType:  "user",
		ClientId:      client,
		Scopes:        state.visitor.login.GetScopes(),
		Flow:          state.visitor.flow,
		Hostname:      state.visitor.login.GetHostname(),
	}, nil
}

// Token gives a token out, or the one of that scope again.
func (d *Doorman) Token(
	_ context.Context, request *pluginpb.GetTokenRequest,
) (*pluginpb.GetTokenResponse, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	state, err := d.of(request.GetHandlerName())
	if err != nil {
		return nil, err
	}
	if state.visitor == nil {
		return nil, errors.New("not authenticated")
	}
	for index, token := range state.tokens {
		if token.GetScope() != request.GetScope() {
			continue
		}
		if !request.GetForceRefresh() {
			return token, nil
		}
		state.tokens = append(state.tokens[:index], state.tokens[index+1:]...)
		break
	}
	state.issued++
	token := &pluginpb.GetTokenResponse{
		AccessToken:   fmt.Sprintf("token-%d-%s", state.issued, request.GetScope()),
		ExpiresAtUnix: expiresAt,
		Scope:         request.GetScope(),
		CachedAtUnix:  issuedAt,
		Flow:          state.visitor.flow,
		SessionId:     session,
	}
	if request.GetScope() == "forever" {
		token.ExpiresAtUnix = 0
	}
	state.tokens = append(state.tokens, token)
	return token, nil
}

// hostname is that of the login, if there is one.
func (s *state) hostname() string {
	if s.visitor == nil {
		return ""
	}
	return s.visitor.login.GetHostname()
}

func expired(token *pluginpb.GetTokenResponse) bool {
	return strings.HasPrefix(token.GetScope(), "old")
}

// CachedTokens lists what was given out.
func (d *Doorman) CachedTokens(
	_ context.Context, request *pluginpb.ListCachedTokensRequest,
) ([]*pluginpb.CachedTokenInfo, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	state, err := d.account(request)
	if err != nil {
		return nil, err
	}
	var tokens []*pluginpb.CachedTokenInfo
	if request.GetHandlerName() == "side" && request.GetProfile() == "kept" {
		return append(tokens, &pluginpb.CachedTokenInfo{Handler: "side", TokenKind: "access"}), nil
	}
	for _, token := range state.tokens {
		tokens = append(tokens, &pluginpb.CachedTokenInfo{
			Handler:       request.GetHandlerName(),
			TokenKind:     "access",
			Scope:         token.GetScope(),
			TokenType:     token.GetTokenType(),
			Flow:          token.GetFlow(),
			ExpiresAtUnix: token.GetExpiresAtUnix(),
			CachedAtUnix:  token.GetCachedAtUnix(),
			IsExpired:     expired(token),
			SessionId:     token.GetSessionId(),
			Fingerprint:   "0123456789ab",
			Hostname:      state.hostname(),
		})
	}
	return tokens, nil
}

// PurgeExpired forgets what is expired.
func (d *Doorman) PurgeExpired(
	_ context.Context, request *pluginpb.PurgeExpiredTokensRequest,
) (int, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	state, err := d.account(request)
	if err != nil {
		return 0, err
	}
	var kept []*pluginpb.GetTokenResponse
	for _, token := range state.tokens {
		if !expired(token) {
			kept = append(kept, token)
		}
	}
	purged := len(state.tokens) - len(kept)
	state.tokens = kept
	return purged, nil
}

// Stop has nothing to stop.
func (d *Doorman) Stop(context.Context, string) error { return nil }

// DetectFlows says that there is no browser.
func (d *Doorman) DetectFlows(_ context.Context, handler string) ([]*pluginpb.FlowAvailability, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if _, err := d.of(handler); err != nil {
		return nil, err
	}
	return []*pluginpb.FlowAvailability{
		{Flow: "device_code", Available: true},
		{Flow: "interactive", Reason: "no browser"},
		{Flow: "pat", Available: true},
	}, nil
}

// ActivateServerMode wants to know the port.
func (d *Doorman) ActivateServerMode(_ context.Context, settings json.RawMessage) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(settings, &object); err != nil || object["port"] == nil {
		return errors.New("no port")
	}
	return nil
}
