package serve

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portcullis-host/portcullis/tests/go/pluginpb"
)

// The version of the contract both sides say they speak; neither acts on the other's.
const protocolVersion = 2

// server puts a [Plugin] on the wire. Errors travel as contract spec 3.1 lists them: a status for the
// calls of discovery, a text in the answer for all others.
type server struct {
	pluginpb.UnimplementedPluginServiceServer
	wayBack
	plugin Plugin
}

func (s *server) GetProviders(
	ctx context.Context, _ *pluginpb.GetProvidersRequest,
) (*pluginpb.GetProvidersResponse, error) {
	names, err := s.plugin.Providers(ctx)
	if err != nil {
		return nil, fmt.Errorf("GetProviders: %w", err)
	}
	return &pluginpb.GetProvidersResponse{ProviderNames: names}, nil
}

func (s *server) GetProviderDescriptor(
	ctx context.Context, request *pluginpb.GetProviderDescriptorRequest,
) (*pluginpb.GetProviderDescriptorResponse, error) {
	name := request.GetProviderName()
	descriptor, err := s.plugin.Describe(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("GetProviderDescriptor %q: %w", name, err)
	}
	wire, err := descriptor.encode()
	if err != nil {
		return nil, fmt.Errorf("GetProviderDescriptor %q: %w", name, err)
	}
	return &pluginpb.GetProviderDescriptorResponse{Descriptor_: wire}, nil
}

func (s *server) ConfigureProvider(
	ctx context.Context, request *pluginpb.ConfigureProviderRequest,
) (*pluginpb.ConfigureProviderResponse, error) {
	if err := s.dial(request.GetHostServiceId()); err != nil {
		text := fmt.Sprintf("failed to dial host service: %v", err)
		return &pluginpb.ConfigureProviderResponse{Error: text}, nil
	}
	err := s.plugin.Configure(s.withHost(ctx), request.GetProviderName(), Configuration{
		Quiet:      request.GetQuiet(),
		NoColor:    request.GetNoColor(),
		BinaryName: request.GetBinaryName(),
		Profile:    request.GetProfile(),
		Settings:   rawSettings(request.GetSettings()),
	})
	if err != nil {
		text, _, diagnostics := told(err)
		return &pluginpb.ConfigureProviderResponse{Error: text, Diagnostics: diagnostics}, nil
	}
	return &pluginpb.ConfigureProviderResponse{ProtocolVersion: protocolVersion}, nil
}

func (s *server) ExecuteProvider(
	ctx context.Context, wire *pluginpb.ExecuteProviderRequest,
) (*pluginpb.ExecuteProviderResponse, error) {
	input, request, err := decodeRequest(s.plugin, wire)
	if err != nil {
		return &pluginpb.ExecuteProviderResponse{Error: err.Error()}, nil
	}
	ctx = context.WithValue(s.withHost(ctx), requestKey{}, request)
	output, err := s.plugin.Execute(ctx, wire.GetProviderName(), input)
	if broken := breakdown(err); broken != nil {
		return nil, broken
	}
	return answer(output, err), nil
}

func (s *server) ExecuteProviderStream(
	wire *pluginpb.ExecuteProviderRequest, stream pluginpb.PluginService_ExecuteProviderStreamServer,
) error {
	forward := &forwarder{stream: stream}
	input, request, err := decodeRequest(s.plugin, wire)
	if err != nil {
		forward.send(Chunk{Err: err})
		return nil
	}
	ctx := context.WithValue(s.withHost(stream.Context()), requestKey{}, request)
	err = s.plugin.ExecuteStream(ctx, wire.GetProviderName(), input, forward.send)
	switch {
	case errors.Is(err, ErrNoStreaming):
		return status.Error(codes.Unimplemented, ErrNoStreaming.Error())
	case breakdown(err) != nil:
		return breakdown(err)
	case err != nil:
		forward.send(Chunk{Err: err})
	}
	return nil
}

// breakdown returns the status of a [Breakdown], and nil for every other error.
func breakdown(err error) error {
	var broken Breakdown
	if errors.As(err, &broken) {
		if broken.Code == codes.OK {
			broken.Code = codes.Unknown
		}
		return status.Error(broken.Code, broken.Message)
	}
	return nil
}

func (s *server) DescribeWhatIf(
	ctx context.Context, request *pluginpb.DescribeWhatIfRequest,
) (*pluginpb.DescribeWhatIfResponse, error) {
	input, err := decodeMap("input", request.GetInput())
	if err != nil {
		return &pluginpb.DescribeWhatIfResponse{Error: err.Error()}, nil
	}
	text, err := s.plugin.DescribeWhatIf(s.withHost(ctx), request.GetProviderName(), input)
	if err != nil {
		text, _, diagnostics := told(err)
		return &pluginpb.DescribeWhatIfResponse{Error: text, Diagnostics: diagnostics}, nil
	}
	return &pluginpb.DescribeWhatIfResponse{Description: text}, nil
}

func (s *server) ExtractDependencies(
	ctx context.Context, request *pluginpb.ExtractDependenciesRequest,
) (*pluginpb.ExtractDependenciesResponse, error) {
	inputs, err := decodeMap("inputs", request.GetInputs())
	if err != nil {
		return &pluginpb.ExtractDependenciesResponse{Error: err.Error()}, nil
	}
	names, err := s.plugin.ExtractDependencies(s.withHost(ctx), request.GetProviderName(), inputs)
	if err != nil {
		text, _, diagnostics := told(err)
		return &pluginpb.ExtractDependenciesResponse{Error: text, Diagnostics: diagnostics}, nil
	}
	return &pluginpb.ExtractDependenciesResponse{Dependencies: names}, nil
}

// StopProvider, when it succeeds, drops the host for the whole process, whichever provider it named.
func (s *server) StopProvider(
	ctx context.Context, request *pluginpb.StopProviderRequest,
) (*pluginpb.StopProviderResponse, error) {
	if err := s.plugin.Stop(ctx, request.GetProviderName()); err != nil {
		return &pluginpb.StopProviderResponse{Error: err.Error()}, nil
	}
	s.forget()
	return &pluginpb.StopProviderResponse{}, nil
}

// told returns what the wire says of an error.
func told(err error) (text string, exitCode int32, diagnostics []*pluginpb.Diagnostic) {
	var failure *Failure
	if errors.As(err, &failure) {
		return failure.Message, failure.ExitCode, failure.Diagnostics
	}
	return err.Error(), 0, nil
}

func answer(output *Output, err error) *pluginpb.ExecuteProviderResponse {
	if err != nil {
		text, exitCode, diagnostics := told(err)
		return &pluginpb.ExecuteProviderResponse{Error: text, ExitCode: exitCode, Diagnostics: diagnostics}
	}
	encoded, err := output.encode()
	if err != nil {
		return &pluginpb.ExecuteProviderResponse{Error: fmt.Sprintf("failed to encode output: %v", err)}
	}
	return &pluginpb.ExecuteProviderResponse{Output: encoded}
}

// forwarder sends chunks one at a time. After the first that could not be sent, the rest are dropped
// and the provider is not told (contract spec 3.6).
type forwarder struct {
	mutex  sync.Mutex
	stream pluginpb.PluginService_ExecuteProviderStreamServer
	broken bool
}

func (f *forwarder) send(chunk Chunk) {
	wire := &pluginpb.ExecuteProviderStreamChunk{}
	switch {
	case chunk.Stdout != nil:
		wire.Chunk = &pluginpb.ExecuteProviderStreamChunk_Stdout{Stdout: chunk.Stdout}
	case chunk.Stderr != nil:
		wire.Chunk = &pluginpb.ExecuteProviderStreamChunk_Stderr{Stderr: chunk.Stderr}
	case chunk.Result != nil || chunk.Err != nil:
		result := answer(chunk.Result, chunk.Err)
		wire.Chunk = &pluginpb.ExecuteProviderStreamChunk_Result{Result: result}
	default:
		return
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if !f.broken {
		f.broken = f.stream.Send(wire) != nil
	}
}
