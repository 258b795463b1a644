// Package serve turns a Go value into a scafctl plugin of either kind: a go-plugin child that behaves as one
// built with the published SDK does.
//
// It stands in for that SDK so that the suite meets the wire as real plugins speak it: the same error
// channels, the same decoding, the same streaming rules, the same order of things at configuration
// (contract spec 2 and 3). Where it offers more, such as exit codes and diagnostics, the contract has
// room for them and no SDK uses it.
package serve

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/portcullis-host/portcullis/tests/go/pluginpb"
)

// Plugin is what an author writes. Calls may overlap. A name that was never listed is the author's to
// refuse; see [UnknownProvider].
type Plugin interface {
	Providers(ctx context.Context) ([]string, error)
	Describe(ctx context.Context, provider string) (*Descriptor, error)
	Configure(ctx context.Context, provider string, configuration Configuration) error
	Execute(ctx context.Context, provider string, input map[string]any) (*Output, error)
	// ExecuteStream hands over what the provider prints, and its result, by calling send, which may
	// be called from several goroutines. [ErrNoStreaming] says that the provider cannot stream.
	ExecuteStream(ctx context.Context, provider string, input map[string]any, send func(Chunk)) error
	DescribeWhatIf(ctx context.Context, provider string, input map[string]any) (string, error)
	ExtractDependencies(ctx context.Context, provider string, inputs map[string]any) ([]string, error)
	Stop(ctx context.Context, provider string) error
}

// Undecoder is a plugin that takes the input of some providers as it was written, from [Request.Input].
// A plugin that speaks the wire by itself can do so; one on the published SDK cannot.
type Undecoder interface {
	Undecoded(provider string) bool
}

// Plain answers every call that a plugin without configuration, streaming and the rest need not write.
type Plain struct{}

// Configure accepts everything.
func (Plain) Configure(context.Context, string, Configuration) error { return nil }

// ExecuteStream says that there is no streaming.
func (Plain) ExecuteStream(context.Context, string, map[string]any, func(Chunk)) error {
	return ErrNoStreaming
}

// DescribeWhatIf has nothing to say.
func (Plain) DescribeWhatIf(context.Context, string, map[string]any) (string, error) { return "", nil }

// ExtractDependencies finds nothing.
func (Plain) ExtractDependencies(context.Context, string, map[string]any) ([]string, error) {
	return nil, nil
}

// Stop has nothing to stop.
func (Plain) Stop(context.Context, string) error { return nil }

// ErrNoStreaming is returned by ExecuteStream of a provider that cannot stream.
var ErrNoStreaming = errors.New("streaming execution not supported")

// Breakdown is the error of an execution that goes on the wire as a status, as libraries in other languages
// make one of an exception.
type Breakdown struct {
	// Code is that of the status; 0 stands for Unknown, which an exception in another language is.
	Code    codes.Code
	Message string
}

func (b Breakdown) Error() string { return b.Message }

// UnknownProvider is the error for a name that the plugin does not know.
func UnknownProvider(name string) error { return errors.New("unknown provider: " + name) }

// Configuration is what the host says before the first execution.
type Configuration struct {
	Quiet      bool
	NoColor    bool
	BinaryName string
	Profile    string
	// PromptsForResponse says that the host can ask a person. Auth handlers are told, providers never.
	PromptsForResponse bool
	// Settings is never nil; each value is the JSON that came.
	Settings map[string]json.RawMessage
}

// Chunk is one piece of a streamed execution. One that carries several things sends the first only.
type Chunk struct {
	Stdout []byte
	Stderr []byte
	Result *Output
	Err    error
}

// Failure is an error with everything the wire has room for.
type Failure struct {
	Message     string
	ExitCode    int32
	Diagnostics []*pluginpb.Diagnostic
}

func (f *Failure) Error() string { return f.Message }

// Handshake is how a provider plugin and its host recognise each other.
var Handshake = plugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "SCAFCTL_PLUGIN",
	MagicCookieValue: "scafctl_provider_plugin",
}

// PluginName is the name under which a host asks for the provider service.
const PluginName = "provider"

// Serve serves the plugin until the host ends it. Never returns.
func Serve(implementation Plugin) {
	ServeAny(func(broker *plugin.GRPCBroker, registrar *grpc.Server) {
		pluginpb.RegisterPluginServiceServer(registrar, &server{
			wayBack: wayBack{broker: broker}, plugin: implementation,
		})
	})
}

// ServeAny serves whatever register puts on the server, under the name and the cookie of a provider
// plugin. Never returns.
func ServeAny(register Register) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: Handshake,
		Plugins:         map[string]plugin.Plugin{PluginName: &grpcPlugin{register: register}},
		GRPCServer:      plugin.DefaultGRPCServer,
	})
}

// Register puts services on a plugin's server.
type Register = func(*plugin.GRPCBroker, *grpc.Server)

type grpcPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	register Register
}

func (p *grpcPlugin) GRPCServer(broker *plugin.GRPCBroker, registrar *grpc.Server) error {
	p.register(broker, registrar)
	return nil
}

func (p *grpcPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("a plugin is no host")
}
