// Command acrobat is a plugin that does anything on request, what no plugin should do included.
//
// Two providers that differ in one thing: acrobat streams, acrobat-unary does not. The input operation
// says what to do.
//
//	| operation        | Inputs                        | data of its output, or what happens       |
//	|------------------|-------------------------------|-------------------------------------------|
//	| ok               |                               | {"success":true}                          |
//	| warn             | streamed                      | the same, with two warnings, metadata,    |
//	|                  |                               | and streamed as the input has it          |
//	| context          |                               | what came with the request; see sight.go  |
//	| configured       |                               | what came with the configuration; null    |
//	|                  |                               | before it came                            |
//	| count            |                               | {"count":n}: calls of count so far        |
//	| fail             | message, exitCode,            | an error of just that                     |
//	|                  | diagnostics                   |                                           |
//	| break            | message, code                 | the library says so, with a status of     |
//	|                  |                               | that number                               |
//	| stream           | chunks, size, stderrEvery,    | {"chunks":n,"bytes":n}, streamed; see     |
//	|                  | pauseMillis                   | stream.go                                 |
//	| stream-fail      |                               | one chunk `before the end`, then the      |
//	|                  |                               | error `failed after a chunk`              |
//	| stream-no-result |                               | one chunk `no result follows`, then no    |
//	|                  |                               | result; without a stream a null result    |
//	| slow             | millis                        | waits, then {"millis":n}; ends early when |
//	|                  |                               | the caller gives up                       |
//	| time-left        |                               | {"millis":n}, or {"millis":null}          |
//	| log              | level, message                | logs it with who=acrobat and n=1          |
//	| print            | stream, text, repeat          | prints to its own stdout or stderr, then  |
//	|                  |                               | {"bytes":n}                               |
//	| read             | path                          | {"text":text}                             |
//	| write            | path, text                    | {"bytes":n}                               |
//	| env              | name                          | {"set":bool,"value":text}                 |
//	| connect          | address                       | {"connected":true}                        |
//	| fork             |                               | {"pid":n}: a child in the same process    |
//	|                  |                               | group that does nothing for two minutes   |
//	| panic            | message                       | panics                                    |
//	| exit             | code                          | ends the whole plugin                     |
//	| spin             |                               | never ends, and never waits either        |
//	| recurse          |                               | calls itself until the stack is full      |
//	| hoard            | mib                           | takes and touches that much memory, then  |
//	|                  |                               | {"mib":n}                                 |
//	| big              | bytes                         | a text of that many letters x             |
//	| invalid-json     |                               | {oops                                     |
//	| invalid-utf8     |                               | a text with the byte FF in it             |
//
// Another operation is refused with `unknown operation: NAME`. Inputs that are left out are empty, 0 or
// false; print prints once when repeat is 0.
//
// DescribeWhatIf answers `Would OPERATION`; nothing for quiet-what-if; the error `what-if failed` for
// fail-what-if. ExtractDependencies returns the text of every rslvr in the inputs, the keys of an object
// in the order of their bytes. A setting refuse makes the configuration fail with its text. The guest of
// the same name does the same, but for fork, break and stream-no-result, which only a child can do.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/codes"

	"github.com/portcullis-host/portcullis/tests/go/pluginpb"
	"github.com/portcullis-host/portcullis/tests/go/serve"
)

const schema = `{"properties":{"address":{"type":"string"},"bytes":{"type":"integer"},"chunks":{"type":"integer"},"code":{"type":"integer"},"diagnostics":{"items":{"type":"object"},"type":"array"},"exitCode":{"type":"integer"},"level":{"type":"string"},"message":{"type":"string"},"mib":{"type":"integer"},"millis":{"type":"integer"},"name":{"type":"string"},"operation":{"type":"string"},"path":{"type":"string"},"pauseMillis":{"type":"integer"},"repeat":{"type":"integer"},"size":{"type":"integer"},"stderrEvery":{"type":"integer"},"stream":{"type":"string"},"streamed":{"type":"boolean"},"text":{"type":"string"}},"required":["operation"],"type":"object"}`

type object = map[string]any

type input struct {
	Operation   string   `json:"operation"`
	Address     string   `json:"address"`
	Bytes       int      `json:"bytes"`
	Chunks      int      `json:"chunks"`
	Code        int      `json:"code"`
	Diagnostics []remark `json:"diagnostics"`
	ExitCode    int32    `json:"exitCode"`
	Level       string   `json:"level"`
	Message     string   `json:"message"`
	Mib         int      `json:"mib"`
	Millis      int      `json:"millis"`
	Name        string   `json:"name"`
	Path        string   `json:"path"`
	PauseMillis int      `json:"pauseMillis"`
	Repeat      int      `json:"repeat"`
	Size        int      `json:"size"`
	StderrEvery int      `json:"stderrEvery"`
	Stream      string   `json:"stream"`
	Streamed    bool     `json:"streamed"`
	Text        string   `json:"text"`
}

type remark struct {
	Severity  string `json:"severity"`
	Summary   string `json:"summary"`
	Detail    string `json:"detail"`
	Attribute string `json:"attribute"`
}

type acrobat struct {
	logger         hclog.Logger
	counted        atomic.Int64
	mutex          sync.Mutex
	configurations map[string]serve.Configuration
}

func (*acrobat) Providers(context.Context) ([]string, error) {
	return []string{"acrobat", "acrobat-unary"}, nil
}

func (*acrobat) Describe(_ context.Context, provider string) (*serve.Descriptor, error) {
	description := map[string]string{
		"acrobat":       "Does anything on request, and streams.",
		"acrobat-unary": "Does anything on request, without streaming.",
	}[provider]
	if description == "" {
		return nil, serve.UnknownProvider(provider)
	}
	return &serve.Descriptor{
		Name:         provider,
		Description:  description,
		Version:      "1.2.3",
		Category:     "test",
		Capabilities: []string{"from", "action"},
		Schema:       schema,
		OutputSchemas: map[string]string{
			"from":   `{}`,
			"action": `{"properties":{"success":{"type":"boolean"}},"type":"object"}`,
		},
		HasExtractDependencies: true,
	}, nil
}

func (a *acrobat) Configure(_ context.Context, provider string, given serve.Configuration) error {
	if refuse, ok := given.Settings["refuse"]; ok {
		var text string
		if err := json.Unmarshal(refuse, &text); err != nil {
			return err
		}
		return errors.New(text)
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.configurations[provider] = given
	return nil
}

func (a *acrobat) Execute(ctx context.Context, provider string, given object) (*serve.Output, error) {
	return a.perform(ctx, provider, given, nil)
}

func (a *acrobat) ExecuteStream(
	ctx context.Context, provider string, given object, send func(serve.Chunk),
) error {
	if provider != "acrobat" {
		return serve.ErrNoStreaming
	}
	output, err := a.perform(ctx, provider, given, send)
	if err == nil && output != nil {
		send(serve.Chunk{Result: output})
	}
	return err
}

func (*acrobat) DescribeWhatIf(_ context.Context, _ string, given object) (string, error) {
	var in input
	if err := serve.Into(given, &in); err != nil {
		return "", err
	}
	switch in.Operation {
	case "quiet-what-if":
		return "", nil
	case "fail-what-if":
		return "", errors.New("what-if failed")
	default:
		return "Would " + in.Operation, nil
	}
}

func (*acrobat) ExtractDependencies(_ context.Context, _ string, inputs object) ([]string, error) {
	return resolvers(inputs, nil), nil
}

func (*acrobat) Stop(context.Context, string) error { return nil }

func (a *acrobat) perform(
	ctx context.Context, provider string, given object, send func(serve.Chunk),
) (*serve.Output, error) {
	var in input
	if err := serve.Into(given, &in); err != nil {
		return nil, err
	}
	// What has more to say than data.
	switch in.Operation {
	case "warn":
		return &serve.Output{
			Data:     object{"success": true},
			Warnings: []string{"first warning", "second warning"},
			Metadata: object{"n": 1, "who": "acrobat"},
			Streamed: in.Streamed,
		}, nil
	case "fail":
		return nil, fail(&in)
	case "break":
		return nil, serve.Breakdown{Code: codes.Code(in.Code), Message: in.Message}
	case "stream":
		return stream(ctx, &in, send)
	case "stream-fail":
		if send != nil {
			send(serve.Chunk{Stdout: []byte("before the end")})
		}
		return nil, errors.New("failed after a chunk")
	case "stream-no-result":
		if send != nil {
			send(serve.Chunk{Stdout: []byte("no result follows")})
		}
		return nil, nil
	case "invalid-json":
		return &serve.Output{Raw: []byte("{oops")}, nil
	case "invalid-utf8":
		return &serve.Output{Raw: []byte("\"\xff\"")}, nil
	}
	data, err := a.data(ctx, provider, &in)
	if err != nil {
		return nil, err
	}
	return &serve.Output{Data: data}, nil
}

func (a *acrobat) data(ctx context.Context, provider string, in *input) (any, error) {
	switch in.Operation {
	case "ok":
		return object{"success": true}, nil
	case "context":
		return ofRequest(serve.RequestOf(ctx)), nil
	case "configured":
		a.mutex.Lock()
		defer a.mutex.Unlock()
		if configuration, ok := a.configurations[provider]; ok {
			return ofConfiguration(configuration), nil
		}
		return nil, nil
	case "count":
		return object{"count": a.counted.Add(1)}, nil
	case "slow":
		return object{"millis": in.Millis}, wait(ctx, in.Millis)
	case "time-left":
		if deadline, ok := ctx.Deadline(); ok {
			return object{"millis": time.Until(deadline).Milliseconds()}, nil
		}
		return object{"millis": nil}, nil
	case "log":
		return object{"success": true}, a.log(in)
	case "print":
		return printOut(in)
	case "read":
		return read(in.Path)
	case "write":
		return object{"bytes": len(in.Text)}, os.WriteFile(in.Path, []byte(in.Text), 0o666)
	case "env":
		value, set := os.LookupEnv(in.Name)
		return object{"set": set, "value": value}, nil
	case "connect":
		return connect(ctx, in.Address)
	case "fork":
		return fork()
	case "panic":
		panic(in.Message)
	case "exit":
		os.Exit(in.Code)
	case "spin":
		spin()
	case "recurse":
		return object{"depth": recurse(0)}, nil
	case "hoard":
		return hoard(in.Mib), nil
	case "big":
		return strings.Repeat("x", in.Bytes), nil
	}
	return nil, errors.New("unknown operation: " + in.Operation)
}

func (a *acrobat) log(in *input) error {
	level := hclog.LevelFromString(in.Level)
	if level == hclog.NoLevel || level == hclog.Off {
		return errors.New("unknown level: " + in.Level)
	}
	a.logger.Log(level, in.Message, "who", "acrobat", "n", 1)
	return nil
}

func fail(in *input) error {
	failure := &serve.Failure{Message: in.Message, ExitCode: in.ExitCode}
	for _, remark := range in.Diagnostics {
		severity := pluginpb.Diagnostic_INVALID
		switch remark.Severity {
		case "error":
			severity = pluginpb.Diagnostic_ERROR
		case "warning":
			severity = pluginpb.Diagnostic_WARNING
		}
		failure.Diagnostics = append(failure.Diagnostics, &pluginpb.Diagnostic{
			Severity:  severity,
			Summary:   remark.Summary,
			Detail:    remark.Detail,
			Attribute: remark.Attribute,
		})
	}
	return failure
}

// resolvers adds the text of every rslvr in a value.
func resolvers(value any, found []string) []string {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			found = resolvers(item, found)
		}
	case object:
		names := make([]string, 0, len(value))
		for name := range value {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			if text, ok := value[name].(string); ok && name == "rslvr" {
				found = append(found, text)
			} else {
				found = resolvers(value[name], found)
			}
		}
	}
	return found
}

func main() {
	if sleeping() {
		return
	}
	// A full stack is a gigabyte otherwise, which would be the machine's trouble and not the plugin's.
	debug.SetMaxStack(64 << 20)
	serve.Serve(&acrobat{
		// Made before serving, while os.Stderr still is the real one: that is where a host reads logs.
		logger: hclog.New(&hclog.LoggerOptions{
			Name: "acrobat", Level: hclog.Trace, Output: os.Stderr, JSONFormat: true,
		}),
		configurations: map[string]serve.Configuration{},
	})
}
