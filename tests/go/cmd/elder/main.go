// Command elder is a plugin of the oldest generation of the contract.
//
// Only three calls exist: the list, the descriptor, the execution; every other one is answered by the
// server with Unimplemented. Its schemas are in the structured form alone, with the fields that form
// had then (contract spec 1.1). Its one provider, elder, gives back its input as echo does, in from
// and transform; what it finds in newer fields of a request it does not know.
package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/portcullis-host/portcullis/tests/go/pluginpb"
	"github.com/portcullis-host/portcullis/tests/go/serve"
)

type elder struct{}

// calls is what the contract had for calls in its first release.
type calls interface {
	getProviders(*pluginpb.GetProvidersRequest) (any, error)
	getProviderDescriptor(*pluginpb.GetProviderDescriptorRequest) (any, error)
	executeProvider(*pluginpb.ExecuteProviderRequest) (any, error)
}

var service = grpc.ServiceDesc{
	ServiceName: "plugin.PluginService",
	HandlerType: (*calls)(nil),
	Methods: []grpc.MethodDesc{
		method("GetProviders", calls.getProviders),
		method("GetProviderDescriptor", calls.getProviderDescriptor),
		method("ExecuteProvider", calls.executeProvider),
	},
}

func method[Request any](name string, call func(calls, *Request) (any, error)) grpc.MethodDesc {
	handler := func(
		server any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor,
	) (any, error) {
		request := new(Request)
		if err := decode(request); err != nil {
			return nil, err
		}
		return call(server.(calls), request)
	}
	return grpc.MethodDesc{MethodName: name, Handler: handler}
}

func (elder) getProviders(*pluginpb.GetProvidersRequest) (any, error) {
	return &pluginpb.GetProvidersResponse{ProviderNames: []string{"elder"}}, nil
}

func (elder) getProviderDescriptor(request *pluginpb.GetProviderDescriptorRequest) (any, error) {
	if request.GetProviderName() != "elder" {
		return nil, serve.UnknownProvider(request.GetProviderName())
	}
	message := func(required bool) *pluginpb.Schema {
		return &pluginpb.Schema{Parameters: map[string]*pluginpb.Parameter{
			"message": {Type: "string", Required: required, Description: "What to say.", Example: `"hello"`},
		}}
	}
	schema := message(true)
	schema.Parameters["message"].MaxLength = 4096
	schema.Parameters["times"] = &pluginpb.Parameter{Type: "integer", DefaultValue: []byte("1")}
	schema.Parameters["tags"] = &pluginpb.Parameter{Type: "array"}
	schema.Parameters["flag"] = &pluginpb.Parameter{Type: "boolean"}
	schema.Parameters["secret"] = &pluginpb.Parameter{Type: "string", Pattern: "^[a-z]*$"}
	return &pluginpb.GetProviderDescriptorResponse{Descriptor_: &pluginpb.ProviderDescriptor{
		Name:            "elder",
		DisplayName:     "Elder",
		Description:     "Gives back its input, as plugins did at first.",
		Version:         "1.2.3",
		Category:        "test",
		Capabilities:    []string{"from", "transform"},
		Schema:          schema,
		OutputSchemas:   map[string]*pluginpb.Schema{"from": message(false), "transform": message(false)},
		ApiVersion:      "v1",
		SensitiveFields: []string{"secret"},
	}}, nil
}

func (elder) executeProvider(request *pluginpb.ExecuteProviderRequest) (any, error) {
	if name := request.GetProviderName(); name != "elder" {
		return &pluginpb.ExecuteProviderResponse{Error: serve.UnknownProvider(name).Error()}, nil
	}
	var input map[string]any
	if text := request.GetInput(); len(text) > 0 {
		if err := json.Unmarshal(text, &input); err != nil {
			return &pluginpb.ExecuteProviderResponse{Error: fmt.Sprintf("failed to decode input: %v", err)}, nil
		}
	}
	output, err := json.Marshal(map[string]any{"data": input})
	if err != nil {
		return &pluginpb.ExecuteProviderResponse{Error: fmt.Sprintf("failed to encode output: %v", err)}, nil
	}
	return &pluginpb.ExecuteProviderResponse{Output: output}, nil
}

func main() {
	serve.ServeAny(func(_ *plugin.GRPCBroker, registrar *grpc.Server) {
		registrar.RegisterService(&service, elder{})
	})
}
