// Command keeper is an honest plugin that calls the host back.
//
// One provider, keeper. Its input operation says which call of the host to make:
//
//	| operation | Inputs                                           | data of its output               |
//	|-----------|--------------------------------------------------|----------------------------------|
//	| get       | name, times (asks so often, at least once)        | {"found":bool,"value":text}      |
//	| set       | name, value                                      | {"success":true}                 |
//	| delete    | name                                             | {"success":true}                 |
//	| list      | pattern                                          | {"names":[text]}                 |
//	| identity  | handler, scope                                   | {"claims":{..}}, or null instead |
//	| handlers  |                                                  | {"names":[text],"default":text}  |
//	| token     | handler, scope, minValidFor, forceRefresh,       | the token                        |
//	|           | profile                                          |                                  |
//	| groups    | handler                                          | {"groups":[text]}                |
//
// Claims are issuer, subject, tenantId, objectId, clientId, email, name, username, issuedAt, expiresAt;
// a token is accessToken, tokenType, expiresAt, scope, cachedAt, flow, sessionId, of which the last
// three are not on the wire and so 0 or empty. Times are Unix seconds, 0 when unknown.
//
// What the host refuses becomes the provider's own error, in the host's words: `host GetSecret: ..`.
// Another operation is refused with `unknown operation: NAME`, and everything with
// `host service not available` when the host offers none. The guest of the same name does the same.
package main

import (
	"context"
	"errors"

	"github.com/portcullis-host/portcullis/tests/go/pluginpb"
	"github.com/portcullis-host/portcullis/tests/go/serve"
)

const schema = `{"properties":{"forceRefresh":{"type":"boolean"},"handler":{"type":"string"},"minValidFor":{"type":"integer"},"name":{"type":"string"},"operation":{"type":"string"},"pattern":{"type":"string"},"profile":{"type":"string"},"scope":{"type":"string"},"times":{"type":"integer"},"value":{"type":"string"}},"required":["operation"],"type":"object"}`

type keeper struct{ serve.Plain }

type input struct {
	Operation    string `json:"operation"`
	Name         string `json:"name"`
	Value        string `json:"value"`
	Pattern      string `json:"pattern"`
	Times        int    `json:"times"`
	Handler      string `json:"handler"`
	Scope        string `json:"scope"`
	MinValidFor  int64  `json:"minValidFor"`
	ForceRefresh bool   `json:"forceRefresh"`
	Profile      string `json:"profile"`
}

type object = map[string]any

func (keeper) Providers(context.Context) ([]string, error) { return []string{"keeper"}, nil }

func (keeper) Describe(_ context.Context, provider string) (*serve.Descriptor, error) {
	if provider != "keeper" {
		return nil, serve.UnknownProvider(provider)
	}
	return &serve.Descriptor{
		Name:         "keeper",
		Description:  "Asks the host for secrets and for who the user is.",
		Version:      "1.2.3",
		Category:     "test",
		Capabilities: []string{"from", "action"},
		Schema:       schema,
		OutputSchemas: map[string]string{
			"from":   `{"type":"object"}`,
			"action": `{"properties":{"success":{"type":"boolean"}},"type":"object"}`,
		},
		SensitiveFields: []string{"value"},
		WriteOperations: []string{"set", "delete"},
	}, nil
}

func (keeper) Execute(ctx context.Context, _ string, given map[string]any) (*serve.Output, error) {
	var in input
	if err := serve.Into(given, &in); err != nil {
		return nil, err
	}
	host := serve.HostOf(ctx)
	if host == nil {
		return nil, errors.New("host service not available")
	}
	data, err := perform(ctx, host, &in)
	if err != nil {
		return nil, err
	}
	return &serve.Output{Data: data}, nil
}

func perform(ctx context.Context, host *serve.Host, in *input) (object, error) {
	switch in.Operation {
	case "get":
		for range in.Times - 1 {
			if _, _, err := host.GetSecret(ctx, in.Name); err != nil {
				return nil, err
			}
		}
		value, found, err := host.GetSecret(ctx, in.Name)
		return object{"found": found, "value": value}, err
	case "set":
		return object{"success": true}, host.SetSecret(ctx, in.Name, in.Value)
	case "delete":
		return object{"success": true}, host.DeleteSecret(ctx, in.Name)
	case "list":
		names, err := host.ListSecrets(ctx, in.Pattern)
		return object{"names": list(names)}, err
	case "identity":
		claims, err := host.AuthIdentity(ctx, in.Handler, in.Scope)
		return object{"claims": claimsValue(claims)}, err
	case "handlers":
		names, standard, err := host.AuthHandlers(ctx)
		return object{"names": list(names), "default": standard}, err
	case "token":
		token, err := host.AuthToken(ctx, &pluginpb.GetAuthTokenRequest{
			HandlerName:        in.Handler,
			Scope:              in.Scope,
			MinValidForSeconds: in.MinValidFor,
			ForceRefresh:       in.ForceRefresh,
			Profile:            in.Profile,
		})
		return tokenValue(token), err
	case "groups":
		groups, err := host.AuthGroups(ctx, in.Handler)
		return object{"groups": list(groups)}, err
	default:
		return nil, errors.New("unknown operation: " + in.Operation)
	}
}

// list makes an empty list of none at all, which would be written as null.
func list(names []string) []string { return append([]string{}, names...) }

func claimsValue(claims *pluginpb.Claims) any {
	if claims == nil {
		return nil
	}
	return object{
		"issuer":    claims.GetIssuer(),
		"subject":   claims.GetSubject(),
		"tenantId":  claims.GetTenantId(),
		"objectId":  claims.GetObjectId(),
		"clientId":  claims.GetClientId(),
		"email":     claims.GetEmail(),
		"name":      claims.GetName(),
		"username":  claims.GetUsername(),
		"issuedAt":  claims.GetIssuedAtUnix(),
		"expiresAt": claims.GetExpiresAtUnix(),
	}
}

func tokenValue(token *pluginpb.GetAuthTokenResponse) object {
	return object{
		"accessToken": token.GetAccessToken(),
		"tokenType":   token.GetTokenType(),
		"expiresAt":   token.GetExpiresAtUnix(),
		"scope":       token.GetScope(),
		"cachedAt":    0,
		"flow":        "",
		"sessionId":   "",
	}
}

func main() { serve.Serve(keeper{}) }
