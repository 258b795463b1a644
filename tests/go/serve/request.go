package serve

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/portcullis-host/portcullis/tests/go/pluginpb"
)

// Request is what came with an execution beside its decoded input. Empty texts were not said.
type Request struct {
	// Input is the input as it came.
	Input             []byte
	DryRun            bool
	Mode              string
	WorkingDirectory  string
	OutputDirectory   string
	ConflictStrategy  string
	Backup            bool
	AuthProfile       string
	Iteration         *Iteration
	Parameters        map[string]any
	Solution          *pluginpb.SolutionMeta
	ResolverContext   map[string]any
	ExecutionSettings map[string]json.RawMessage
}

// Iteration is where in an iteration a request stands.
type Iteration struct {
	Item       any
	Index      int32
	ItemAlias  string
	IndexAlias string
}

type requestKey struct{}

// RequestOf returns what came with the execution this context belongs to, or nil outside of one.
func RequestOf(ctx context.Context) *Request {
	request, _ := ctx.Value(requestKey{}).(*Request)
	return request
}

// Into fills a struct from a decoded input.
func Into(input map[string]any, target any) error {
	text, err := json.Marshal(input)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, target)
}

// decodeMap decodes an object. Nothing at all and `null` are the nil map.
func decodeMap(what string, text []byte) (map[string]any, error) {
	if len(text) == 0 {
		return nil, nil
	}
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		return nil, fmt.Errorf("failed to decode %s: %w", what, err)
	}
	return object, nil
}

// decodeRequest decodes in the order that decides which of several failures is told: input, context,
// iteration item, parameters (contract spec 3.3). An [Undecoder] may do without the first.
func decodeRequest(plugin Plugin, wire *pluginpb.ExecuteProviderRequest) (map[string]any, *Request, error) {
	var input map[string]any
	var err error
	if u, ok := plugin.(Undecoder); !ok || !u.Undecoded(wire.GetProviderName()) {
		if input, err = decodeMap("input", wire.GetInput()); err != nil {
			return nil, nil, err
		}
	}
	surroundings, err := decodeMap("context", wire.GetContext())
	if err != nil {
		return nil, nil, err
	}
	request := &Request{
		Input:             wire.GetInput(),
		DryRun:            wire.GetDryRun(),
		Mode:              wire.GetExecutionMode(),
		WorkingDirectory:  wire.GetWorkingDirectory(),
		OutputDirectory:   wire.GetOutputDirectory(),
		ConflictStrategy:  wire.GetConflictStrategy(),
		Backup:            wire.GetBackup(),
		AuthProfile:       wire.GetAuthProfile(),
		Solution:          wire.GetSolutionMetadata(),
		ExecutionSettings: rawSettings(wire.GetSettings()),
	}
	request.ResolverContext, _ = surroundings["resolverContext"].(map[string]any)
	if iteration := wire.GetIterationContext(); iteration != nil {
		request.Iteration = &Iteration{
			Index:      iteration.GetIndex(),
			ItemAlias:  iteration.GetItemAlias(),
			IndexAlias: iteration.GetIndexAlias(),
		}
		if item := iteration.GetItem(); len(item) > 0 {
			if err := json.Unmarshal(item, &request.Iteration.Item); err != nil {
				return nil, nil, fmt.Errorf("failed to decode iteration item: %w", err)
			}
		}
	}
	if request.Parameters, err = decodeMap("parameters", wire.GetParameters()); err != nil {
		return nil, nil, err
	}
	return input, request, nil
}

func rawSettings(wire map[string][]byte) map[string]json.RawMessage {
	settings := make(map[string]json.RawMessage, len(wire))
	for name, value := range wire {
		settings[name] = value
	}
	return settings
}
