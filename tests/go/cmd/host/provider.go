package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/portcullis-host/portcullis/tests/go/pluginpb"
)

// The version of the contract that hosts say they speak.
const protocolVersion = 2

// How long a plugin may take to find dependencies; the one limit that the host itself sets.
const dependenciesLimit = 30 * time.Second

// provide makes one call of a provider, in the words of scafctl (contract spec 4.5 to 4.7).
func (h *host) provide(ctx context.Context, call *call, c command) (any, error) {
	switch c.Do {
	case "providers":
		answer, err := h.providers.GetProviders(ctx, &pluginpb.GetProvidersRequest{})
		return append([]string{}, answer.GetProviderNames()...), err
	case "descriptor":
		return h.descriptor(ctx, c.Name)
	case "configure":
		return nil, h.configureProvider(ctx, c)
	case "execute":
		return h.execute(ctx, c)
	case "bench":
		return h.bench(ctx, c)
	case "stream":
		return h.stream(ctx, call, c)
	case "what-if":
		return h.whatIf(ctx, c)
	case "dependencies":
		return h.dependencies(ctx, c)
	case "stop":
		answer, err := h.providers.StopProvider(ctx, &pluginpb.StopProviderRequest{ProviderName: c.Name})
		return nil, optional(err, "stop provider failed", answer.GetError())
	}
	return nil, fmt.Errorf("a provider does not %s", c.Do)
}

// optional is the outcome of a call that an older plugin need not know.
func optional(err error, what, answered string) error {
	switch {
	case unimplemented(err):
		return nil
	case err != nil:
		return err
	case answered != "":
		return fmt.Errorf("%s: %s", what, answered)
	}
	return nil
}

// descriptor returns the message, in which the schemas are shown as what they are.
func (h *host) descriptor(ctx context.Context, name string) (any, error) {
	answer, err := h.providers.GetProviderDescriptor(ctx, &pluginpb.GetProviderDescriptorRequest{ProviderName: name})
	if err != nil {
		return nil, fmt.Errorf("failed to get provider descriptor: %w", err)
	}
	wire := answer.GetDescriptor_()
	if wire == nil {
		return nil, errors.New("failed to get provider descriptor: there is none")
	}
	schemas := map[string]json.RawMessage{}
	for capability, text := range wire.GetRawOutputSchemas() {
		schemas[capability] = text
	}
	message, err := fields(wire)
	shown := map[string]any{"message": message, "output_schemas": schemas}
	if len(wire.GetRawSchema()) > 0 {
		shown["schema"] = json.RawMessage(wire.GetRawSchema())
	}
	return shown, err
}

func (h *host) configureProvider(ctx context.Context, c command) error {
	request := &pluginpb.ConfigureProviderRequest{BinaryName: "scafctl"}
	if err := fill(c.Request, request); err != nil {
		return err
	}
	request.ProviderName, request.ProtocolVersion = c.Name, protocolVersion
	request.Settings, request.HostServiceId = settings(c), h.service.announced()
	answer, err := h.providers.ConfigureProvider(ctx, request)
	if err := optional(err, "configure provider failed", answer.GetError()); err != nil {
		return fmt.Errorf("%s: configure: %w", c.Name, err)
	}
	return nil
}

func settings(c command) map[string][]byte {
	settings := make(map[string][]byte, len(c.Settings))
	for name, value := range c.Settings {
		settings[name] = value
	}
	return settings
}

// input returns what a command has for input, as scafctl writes it: keys in order, and <, > and & escaped.
func (c *command) input() ([]byte, error) {
	if c.Raw != nil {
		return []byte(*c.Raw), nil
	}
	if len(c.Input) == 0 {
		return []byte("{}"), nil
	}
	var object map[string]any
	decoder := json.NewDecoder(bytes.NewReader(c.Input))
	decoder.UseNumber()
	if err := decoder.Decode(&object); err != nil {
		return nil, fmt.Errorf("%s: expected map[string]any: %w", c.Name, err)
	}
	return json.Marshal(object)
}

func (c *command) execution() (*pluginpb.ExecuteProviderRequest, error) {
	request := &pluginpb.ExecuteProviderRequest{Context: []byte("{}")}
	if err := fill(c.Request, request); err != nil {
		return nil, err
	}
	input, err := c.input()
	request.ProviderName, request.Input, request.Settings = c.Name, input, settings(*c)
	return request, err
}

func (h *host) execute(ctx context.Context, c command) (any, error) {
	request, err := c.execution()
	if err != nil {
		return nil, err
	}
	answer, err := h.providers.ExecuteProvider(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	output, err := read(answer)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	return output, nil
}

// streamed is what came of a streaming call beside the events.
type streamed struct {
	Output any `json:"output"`
	// FellBack says that the provider does not stream, and was called once more in the other way.
	FellBack bool `json:"fellBack"`
	Stdout   int  `json:"stdout"`
	Stderr   int  `json:"stderr"`
	Chunks   int  `json:"chunks"`
}

// stream calls as scafctl does when there is somebody to show things to: streaming first, without it where
// the provider does not know how.
func (h *host) stream(ctx context.Context, call *call, c command) (any, error) {
	request, err := c.execution()
	if err != nil {
		return nil, err
	}
	result := &streamed{}
	err = h.receive(ctx, call, c, request, result)
	if unimplemented(err) {
		result.FellBack = true
		result.Output, err = h.execute(ctx, c)
		return result, err
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", c.Name, err)
	}
	return result, err
}

// receive takes chunks until the end. Of several results the last one counts, and none is an empty one.
func (h *host) receive(
	ctx context.Context, call *call, c command, request *pluginpb.ExecuteProviderRequest, result *streamed,
) error {
	stream, err := h.providers.ExecuteProviderStream(ctx, request)
	if err != nil {
		return err
	}
	var last *pluginpb.ExecuteProviderResponse
	for {
		if c.Hold != 0 && result.Chunks == c.Hold {
			h.print.event(call.id, "held")
			if err := call.held(ctx); err != nil {
				return err
			}
		}
		chunk, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if unimplemented(err) {
			return err
		}
		if err != nil {
			return fmt.Errorf("stream receive error: %w", err)
		}
		result.Chunks++
		switch payload := chunk.GetChunk().(type) {
		case *pluginpb.ExecuteProviderStreamChunk_Stdout:
			result.Stdout += len(payload.Stdout)
			h.show(call, c, "stdout", payload.Stdout)
		case *pluginpb.ExecuteProviderStreamChunk_Stderr:
			result.Stderr += len(payload.Stderr)
			h.show(call, c, "stderr", payload.Stderr)
		case *pluginpb.ExecuteProviderStreamChunk_Result:
			last = payload.Result
		}
	}
	if last == nil {
		result.Output = map[string]any{"data": nil}
		return nil
	}
	result.Output, err = read(last)
	return err
}

func (h *host) show(call *call, c command, where string, text []byte) {
	if !c.Sizes {
		h.print.event(call.id, map[string]string{where: string(text)})
	}
}

// read is what the host makes of an answer. Exit code and diagnostics count when there is an error.
func read(answer *pluginpb.ExecuteProviderResponse) (any, error) {
	if answer.GetError() != "" {
		err := fmt.Errorf("provider execution failed: %s", answer.GetError())
		if told := joined(answer.GetDiagnostics()); told != "" {
			err = errors.New(told)
		}
		if answer.GetExitCode() != 0 {
			return nil, &exitError{error: err, code: answer.GetExitCode()}
		}
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(answer.GetOutput()))
	decoder.UseNumber()
	var output struct {
		Data     any            `json:"data"`
		Warnings []string       `json:"warnings,omitempty"`
		Metadata map[string]any `json:"metadata,omitempty"`
		Streamed bool           `json:"streamed,omitempty"`
	}
	if err := decoder.Decode(&output); err != nil {
		return nil, fmt.Errorf("failed to decode output: %w", err)
	}
	return output, nil
}

// joined returns the errors among the diagnostics, one a line.
func joined(diagnostics []*pluginpb.Diagnostic) string {
	var lines []string
	for _, diagnostic := range diagnostics {
		if diagnostic.GetSeverity() != pluginpb.Diagnostic_ERROR {
			continue
		}
		line := diagnostic.GetSummary()
		if line == "" {
			line = "unknown error (empty diagnostic summary)"
		} else if diagnostic.GetDetail() != "" {
			line += ": " + diagnostic.GetDetail()
		}
		if attribute := diagnostic.GetAttribute(); attribute != "" {
			line += " (attribute: " + attribute + ")"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// whatIf returns the host's own words where the plugin has none.
func (h *host) whatIf(ctx context.Context, c command) (any, error) {
	input, err := c.input()
	if err != nil {
		return nil, err
	}
	request := &pluginpb.DescribeWhatIfRequest{ProviderName: c.Name, Input: input}
	answer, err := h.providers.DescribeWhatIf(ctx, request)
	if err := optional(err, "DescribeWhatIf failed", answer.GetError()); err != nil {
		return nil, err
	}
	if answer.GetDescription() == "" {
		return fmt.Sprintf("Would execute %s provider", c.Name), nil
	}
	return answer.GetDescription(), nil
}

// dependencies returns null where the host would look for them itself.
func (h *host) dependencies(ctx context.Context, c command) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, dependenciesLimit)
	defer cancel()
	input, err := c.input()
	if err != nil {
		return nil, err
	}
	request := &pluginpb.ExtractDependenciesRequest{ProviderName: c.Name, Inputs: input}
	answer, err := h.providers.ExtractDependencies(ctx, request)
	if err := optional(err, "extract dependencies failed", answer.GetError()); err != nil {
		return nil, err
	}
	return answer.GetDependencies(), nil
}
