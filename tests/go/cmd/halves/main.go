// Command halves is a plugin that is only partly any good. It names what is good of it three times.
//
//	| Provider    | Descriptor                       | data of its output |
//	|-------------|----------------------------------|--------------------|
//	| half-lost   | fails: `the descriptor is lost`  |                    |
//	| half-unable | has no capabilities, so invalid  |                    |
//	| half        | good                             | {"half":true}      |
package main

import (
	"context"
	"errors"

	"github.com/portcullis-host/portcullis/tests/go/serve"
)

type halves struct{ serve.Plain }

func (halves) Providers(context.Context) ([]string, error) {
	return []string{"half", "half-lost", "half", "half-unable", "half"}, nil
}

func (halves) Describe(_ context.Context, provider string) (*serve.Descriptor, error) {
	descriptor := &serve.Descriptor{
		Name:        provider,
		Description: "Is one of three, of which one works.",
		Version:     "1.2.3",
		Category:    "test",
	}
	switch provider {
	case "half-lost":
		return nil, errors.New("the descriptor is lost")
	case "half-unable":
	case "half":
		descriptor.Capabilities = []string{"from"}
		descriptor.OutputSchemas = map[string]string{"from": `{"type":"object"}`}
	default:
		return nil, serve.UnknownProvider(provider)
	}
	return descriptor, nil
}

func (halves) Execute(_ context.Context, provider string, _ map[string]any) (*serve.Output, error) {
	if provider != "half" {
		return nil, serve.UnknownProvider(provider)
	}
	return &serve.Output{Data: map[string]any{"half": true}}, nil
}

func main() { serve.Serve(halves{}) }
