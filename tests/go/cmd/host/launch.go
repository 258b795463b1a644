package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/portcullis-host/portcullis/tests/go/pluginpb"
)

type options struct {
	kind, mode string
	versions   []int
	noService  bool
	start      time.Duration
	command    []string
}

// kinds are the two sorts of plugin: what each is known by, and the versions that were ever released.
var kinds = map[string]struct {
	cookie   plugin.HandshakeConfig
	name     string
	versions []int
}{
	"provider": {
		cookie: plugin.HandshakeConfig{
			ProtocolVersion:  1,
			MagicCookieKey:   "SCAFCTL_PLUGIN",
			MagicCookieValue: "scafctl_provider_plugin",
		},
		name:     "provider",
		versions: []int{1},
	},
	"auth": {
		cookie: plugin.HandshakeConfig{
			ProtocolVersion:  1,
			MagicCookieKey:   "SCAFCTL_AUTH_PLUGIN",
			MagicCookieValue: "scafctl_auth_handler_plugin",
		},
		name:     "auth-handler",
		versions: []int{1, 2},
	},
}

// host is a running plugin and all that belongs to it.
type host struct {
	command  *exec.Cmd
	config   *plugin.ClientConfig
	client   *plugin.Client
	protocol plugin.ClientProtocol
	// One of the two is there.
	providers pluginpb.PluginServiceClient
	handlers  pluginpb.AuthHandlerServiceClient
	service   *service
	calls     sync.Map

	stdout, stderr, log printed
	print               printer
}

// link is what go-plugin dispenses: the connection, as it is.
type link struct {
	broker     *plugin.GRPCBroker
	connection *grpc.ClientConn
}

type linker struct{ plugin.NetRPCUnsupportedPlugin }

func (linker) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("a host is no plugin")
}

func (linker) GRPCClient(_ context.Context, broker *plugin.GRPCBroker, connection *grpc.ClientConn) (any, error) {
	return &link{broker: broker, connection: connection}, nil
}

// prepare makes a host that has started nothing yet.
func prepare(options options) *host {
	h := &host{command: exec.Command(options.command[0], options.command[1:]...)}
	kind, plugins := kinds[options.kind], map[int]plugin.PluginSet{}
	if len(options.versions) == 0 {
		options.versions = kind.versions
	}
	for _, version := range options.versions {
		plugins[version] = plugin.PluginSet{kind.name: linker{}}
	}
	h.config = &plugin.ClientConfig{
		HandshakeConfig:  kind.cookie,
		VersionedPlugins: plugins,
		Cmd:              h.command,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         slices.Contains([]string{"automtls", "both"}, options.mode),
		StartTimeout:     options.start,
		SyncStdout:       &h.stdout,
		SyncStderr:       &h.stderr,
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: &h.log, JSONFormat: true}),
	}
	h.client = plugin.NewClient(h.config)
	return h
}

// launch starts the plugin and connects to it.
func (h *host) launch(options options) error {
	if slices.Contains([]string{"mux", "both"}, options.mode) {
		// Versions before 1.6 have no such field, and a host on them cannot do it.
		field := reflect.ValueOf(h.config).Elem().FieldByName("GRPCBrokerMultiplex")
		if !field.IsValid() {
			return errors.New("this go-plugin knows no multiplexing")
		}
		field.SetBool(true)
	}
	return h.connect(options, kinds[options.kind].name)
}

func (h *host) connect(options options, name string) (err error) {
	defer func() {
		if err != nil {
			h.client.Kill()
		}
	}()
	if h.protocol, err = h.client.Client(); err != nil {
		return fmt.Errorf("failed to connect to plugin: %w", err)
	}
	dispensed, err := h.protocol.Dispense(name)
	if err != nil {
		return fmt.Errorf("failed to dispense plugin: %w", err)
	}
	link := dispensed.(*link)
	h.service = &service{broker: link.broker, none: options.noService}
	if options.kind == "provider" {
		h.providers = pluginpb.NewPluginServiceClient(link.connection)
	} else {
		h.handlers = pluginpb.NewAuthHandlerServiceClient(link.connection)
	}
	return nil
}

// kill ends the plugin as a host does, and says how it went.
func (h *host) kill() any {
	begun := time.Now()
	h.client.Kill()
	ending := map[string]any{"milliseconds": milliseconds(begun), "exited": h.client.Exited()}
	// go-plugin says so when it had to.
	ending["graceful"] = !strings.Contains(h.log.text(), "failed to exit gracefully")
	if state := h.command.ProcessState; state != nil {
		ending["exit"] = state.String()
	}
	return ending
}

// printed keeps what is written to it.
type printed struct {
	mutex  sync.Mutex
	buffer bytes.Buffer
}

func (p *printed) Write(piece []byte) (int, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.buffer.Write(piece)
}

func (p *printed) text() string {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.buffer.String()
}

// lines returns what was written as the values that it is.
func (p *printed) lines() []json.RawMessage {
	lines := []json.RawMessage{}
	for line := range strings.SplitSeq(p.text(), "\n") {
		if line != "" {
			lines = append(lines, json.RawMessage(line))
		}
	}
	return lines
}
