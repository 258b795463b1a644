package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portcullis-host/portcullis/tests/go/pluginpb"
)

// having is what the host has. What is left out is absent.
type having struct {
	// Secrets are those that there are; null has no store.
	Secrets map[string]string `json:"secrets"`
	// Prefix is what the names of secrets have to begin with.
	Prefix string `json:"prefix"`
	// Accounts says whether there are the two accounts, github and entra, and everything about them.
	Accounts bool `json:"accounts"`
	// Allowed are the handlers that may be asked of; none is all.
	Allowed []string `json:"allowed"`
	// Prompt is what a person says when they are asked; Unwilling is the code with which they do not.
	Prompt    *string `json:"prompt"`
	Unwilling string  `json:"unwilling"`
}

// service is what a plugin may ask of its host (contract spec 5).
type service struct {
	pluginpb.UnimplementedHostServiceServer
	broker *plugin.GRPCBroker
	none   bool

	mutex sync.Mutex
	id    uint32
	has   having
	asked []object
	// left is how many milliseconds the last question for a secret had; nil is no limit.
	left *int64
}

type object = map[string]any

// announced serves it from now on, once, and returns the id to tell the plugin.
func (s *service) announced() uint32 {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.none || s.id != 0 {
		return s.id
	}
	s.id = s.broker.NextId()
	go s.broker.AcceptAndServe(s.id, func(options []grpc.ServerOption) *grpc.Server {
		server := grpc.NewServer(options...)
		pluginpb.RegisterHostServiceServer(server, s)
		return server
	})
	return s.id
}

func (s *service) have(has *having) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.has, s.asked = *has, nil
}

func (s *service) served() any {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	secrets := map[string]string{}
	for name, value := range s.has.Secrets {
		secrets[name] = value
	}
	return object{"secrets": secrets, "asked": append([]object{}, s.asked...), "left": s.left}
}

// asks says whether there is a person to ask.
func (s *service) asks() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return !s.none && (s.has.Prompt != nil || s.has.Unwilling != "")
}

var (
	wellFormed = regexp.MustCompile(`^[a-zA-Z0-9_\-./]+$`)
	// The store is stricter than the service in front of it.
	storable = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}$`)
)

// refusal returns why a secret of that name is not for the plugin, or nothing; in this order.
func (s *service) refusal(name string) string {
	switch {
	case s.has.Secrets == nil:
		return "secret store not available"
	case name == "":
		return "secret name must not be empty"
	case len(name) > 256:
		return "secret name exceeds maximum length of 256"
	case !wellFormed.MatchString(name):
		return "secret name contains invalid characters"
	case strings.Contains(name, ".."):
		return "secret name must not contain path traversal sequences"
	case !strings.HasPrefix(name, s.has.Prefix):
		return "access denied: secret name outside allowed scope"
	}
	return ""
}

// stored returns why the store would have none of that name.
func stored(verb, name string) string {
	if storable.MatchString(name) {
		return ""
	}
	reason := "name contains invalid characters (allowed: a-z, A-Z, 0-9, -, _, .)"
	return fmt.Sprintf("%s secret %q: invalid secret name %q: %s", verb, name, name, reason)
}

func first(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

func (s *service) GetSecret(
	ctx context.Context, request *pluginpb.GetSecretRequest,
) (*pluginpb.GetSecretResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.left = nil
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline).Milliseconds()
		s.left = &left
	}
	name := request.GetName()
	if refusal := first(s.refusal(name), stored("get", name)); refusal != "" {
		return &pluginpb.GetSecretResponse{Error: refusal}, nil
	}
	value, found := s.has.Secrets[name]
	return &pluginpb.GetSecretResponse{Value: value, Found: found}, nil
}

func (s *service) SetSecret(
	_ context.Context, request *pluginpb.SetSecretRequest,
) (*pluginpb.SetSecretResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	name := request.GetName()
	if refusal := first(s.refusal(name), stored("set", name)); refusal != "" {
		return &pluginpb.SetSecretResponse{Error: refusal}, nil
	}
	s.has.Secrets[name] = request.GetValue()
	return &pluginpb.SetSecretResponse{}, nil
}

func (s *service) DeleteSecret(
	_ context.Context, request *pluginpb.DeleteSecretRequest,
) (*pluginpb.DeleteSecretResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	name := request.GetName()
	if refusal := first(s.refusal(name), stored("delete", name)); refusal != "" {
		return &pluginpb.DeleteSecretResponse{Error: refusal}, nil
	}
	delete(s.has.Secrets, name)
	return &pluginpb.DeleteSecretResponse{}, nil
}

func (s *service) ListSecrets(
	_ context.Context, request *pluginpb.ListSecretsRequest,
) (*pluginpb.ListSecretsResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.has.Secrets == nil {
		return &pluginpb.ListSecretsResponse{Error: "secret store not available"}, nil
	}
	if len(request.GetPattern()) > 256 {
		return &pluginpb.ListSecretsResponse{Error: "pattern too long: max 256 characters"}, nil
	}
	pattern, err := regexp.Compile(request.GetPattern())
	if err != nil {
		return &pluginpb.ListSecretsResponse{Error: fmt.Sprintf("invalid pattern: %v", err)}, nil
	}
	names := []string{}
	for name := range s.has.Secrets {
		if strings.HasPrefix(name, s.has.Prefix) && pattern.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return &pluginpb.ListSecretsResponse{Names: names}, nil
}

// denied returns why a handler may not be asked of. An allowlist denies the empty name, the default.
func (s *service) denied(absent, name string) string {
	switch {
	case !s.has.Accounts:
		return absent
	case len(s.has.Allowed) > 0 && !slices.Contains(s.has.Allowed, name):
		return fmt.Sprintf("access denied: auth handler %q is not in the allowed set", name)
	}
	return ""
}

// GetAuthIdentity knows everybody, under the scope that is asked for.
func (s *service) GetAuthIdentity(
	_ context.Context, request *pluginpb.GetAuthIdentityRequest,
) (*pluginpb.GetAuthIdentityResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if refusal := s.denied("auth identity not available", request.GetHandlerName()); refusal != "" {
		return &pluginpb.GetAuthIdentityResponse{Error: refusal}, nil
	}
	return &pluginpb.GetAuthIdentityResponse{Claims: &pluginpb.Claims{
		Issuer:       "https://" + request.GetHandlerName() + ".example",
		Subject:      request.GetScope(),
		Email:        "ada@example.com",
		IssuedAtUnix: 1700000000,
	}}, nil
}

func (s *service) ListAuthHandlers(
	context.Context, *pluginpb.ListAuthHandlersRequest,
) (*pluginpb.ListAuthHandlersResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	answer := &pluginpb.ListAuthHandlersResponse{}
	if !s.has.Accounts {
		return answer, nil
	}
	for _, name := range []string{"github", "entra"} {
		if len(s.has.Allowed) == 0 || slices.Contains(s.has.Allowed, name) {
			answer.HandlerNames = append(answer.HandlerNames, name)
		}
	}
	if slices.Contains(answer.HandlerNames, "entra") {
		answer.DefaultHandler = "entra"
	}
	return answer, nil
}

// GetAuthToken gives out a token that says what it was asked for with.
func (s *service) GetAuthToken(
	_ context.Context, request *pluginpb.GetAuthTokenRequest,
) (*pluginpb.GetAuthTokenResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	refusal := s.denied("auth token service not available", request.GetHandlerName())
	if refusal == "" && request.GetForceRefresh() {
		refusal = "get auth token: the well is dry"
	}
	if refusal != "" {
		return &pluginpb.GetAuthTokenResponse{Error: refusal}, nil
	}
	return &pluginpb.GetAuthTokenResponse{
		AccessToken: fmt.Sprintf(
			"%s-%s-%d", request.GetHandlerName(), request.GetScope(), request.GetMinValidForSeconds()),
		TokenType:     "Bearer",
		ExpiresAtUnix: 1800000000,
	}, nil
}

func (s *service) GetAuthGroups(
	_ context.Context, request *pluginpb.GetAuthGroupsRequest,
) (*pluginpb.GetAuthGroupsResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if refusal := s.denied("auth groups not available", request.GetHandlerName()); refusal != "" {
		return &pluginpb.GetAuthGroupsResponse{Error: refusal}, nil
	}
	return &pluginpb.GetAuthGroupsResponse{Groups: []string{"hikers", "bakers"}}, nil
}

// PromptAuthResponse is refused with a status, unlike everything else here.
func (s *service) PromptAuthResponse(
	_ context.Context, request *pluginpb.PromptAuthResponseRequest,
) (*pluginpb.PromptAuthResponseResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.asked = append(s.asked, object{
		"handler":  request.GetHandlerName(),
		"url":      request.GetAuthorizationUrl(),
		"redirect": request.GetRedirectUri(),
	})
	switch {
	case s.has.Unwilling == "unavailable":
		return nil, status.Error(codes.Unavailable, "nobody is at home")
	case s.has.Unwilling == "cancelled":
		return nil, status.Error(codes.Canceled, "not today")
	case s.has.Prompt == nil:
		return nil, status.Error(codes.Unimplemented, "nobody is asked here")
	}
	return &pluginpb.PromptAuthResponseResponse{Value: *s.has.Prompt}, nil
}
