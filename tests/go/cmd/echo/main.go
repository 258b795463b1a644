// Command echo is the smallest useful plugin: it gives back what it is given.
//
//	| Provider | data of its output                                    |
//	|----------|-------------------------------------------------------|
//	| echo     | the input, parsed and written again                   |
//	| noop     | {}; the input is not looked at                        |
//	| raw      | the input's text as it came, null when there is none  |
//
// All three are called in from, transform and action. The guest of the same name does the same.
package main

import (
	"context"

	"github.com/portcullis-host/portcullis/tests/go/serve"
)

const schema = `{"properties":{"flag":{"type":"boolean"},"message":{"type":"string"},"secret":{"type":"string"},"tags":{"items":{"type":"string"},"type":"array"},"times":{"default":1,"type":"integer"}},"type":"object"}`

type echo struct{ serve.Plain }

func (echo) Providers(context.Context) ([]string, error) {
	return []string{"echo", "noop", "raw"}, nil
}

func (echo) Describe(_ context.Context, provider string) (*serve.Descriptor, error) {
	description := map[string]string{
		"echo": "Gives back its input, parsed and written again.",
		"noop": "Gives back an empty object.",
		"raw":  "Gives back its input as it was written.",
	}[provider]
	if description == "" {
		return nil, serve.UnknownProvider(provider)
	}
	return &serve.Descriptor{
		Name:         provider,
		Description:  description,
		Version:      "1.2.3",
		Category:     "test",
		Capabilities: []string{"from", "transform", "action"},
		Schema:       schema,
		OutputSchemas: map[string]string{
			"from":      `{"type":"object"}`,
			"transform": `{"type":"object"}`,
			"action":    `{"properties":{"success":{"type":"boolean"}},"type":"object"}`,
		},
		SensitiveFields: []string{"secret"},
	}, nil
}

// Undecoded keeps what Go cannot decode, 1e400 for one, from being refused before it is seen.
func (echo) Undecoded(provider string) bool { return provider == "raw" }

func (echo) Execute(ctx context.Context, provider string, input map[string]any) (*serve.Output, error) {
	switch provider {
	case "echo":
		return &serve.Output{Data: input}, nil
	case "noop":
		return &serve.Output{Data: map[string]any{}}, nil
	case "raw":
		if text := serve.RequestOf(ctx).Input; len(text) > 0 {
			return &serve.Output{Raw: text}, nil
		}
		return &serve.Output{}, nil
	default:
		return nil, serve.UnknownProvider(provider)
	}
}

func main() { serve.Serve(echo{}) }
