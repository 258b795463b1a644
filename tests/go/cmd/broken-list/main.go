// Command broken-list is a plugin that cannot say which providers it has: the list fails with
// `the list is lost`.
package main

import (
	"context"
	"errors"

	"github.com/portcullis-host/portcullis/tests/go/serve"
)

type brokenList struct{ serve.Plain }

func (brokenList) Providers(context.Context) ([]string, error) {
	return nil, errors.New("the list is lost")
}

func (brokenList) Describe(_ context.Context, provider string) (*serve.Descriptor, error) {
	return nil, serve.UnknownProvider(provider)
}

func (brokenList) Execute(_ context.Context, provider string, _ map[string]any) (*serve.Output, error) {
	return nil, serve.UnknownProvider(provider)
}

func main() { serve.Serve(brokenList{}) }
