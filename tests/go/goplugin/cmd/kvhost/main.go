// Command kvhost drives any plugin that serves the peer's service, and nothing of ours.
//
// It goes through the same steps with each, and prints a line of JSON for every one: what it did, what came of it, and
// what went wrong. Then come the lines of its own log, word for word. A step that fails does not end the others.
//
//	kvhost [-mtls] [-mux] [-steps a,b,...] PLUGIN [ARGUMENT]...
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portcullis-host/portcullis/tests/go/goplugin/peer"
)

// How long a step may take. Generous: only what fails takes it.
const limit = 20 * time.Second

const defaultSteps = "version,ping,authority,echo,large,too-large,count,fail,long-fail,call-back,offer,both-ways,parallel,print,kill-busy"

func main() {
	mtls := flag.Bool("mtls", false, "use AutoMTLS")
	mux := flag.Bool("mux", false, "use multiplexing")
	steps := flag.String("steps", defaultSteps, "what to do, separated by commas")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: kvhost [-mtls] [-mux] [-steps a,b,...] PLUGIN [ARGUMENT]...")
		os.Exit(2)
	}
	h := &host{}
	h.run(*mtls, *mux, flag.Args(), strings.Split(*steps, ","))
}

type host struct {
	client         *plugin.Client
	peer           *peer.Client
	stdout, stderr printed
	log            printed
}

func report(step string, result interface{}, err error) {
	line := map[string]interface{}{"step": step, "result": result}
	if err != nil {
		line["error"] = err.Error()
		if s, ok := status.FromError(err); ok {
			line["code"] = s.Code().String()
		}
	}
	encoded, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(encoded))
}

func (h *host) run(mtls, mux bool, command, steps []string) {
	config := &plugin.ClientConfig{
		HandshakeConfig:  peer.Handshake,
		VersionedPlugins: map[int]plugin.PluginSet{2: {"peer": peer.Plugin{}}, 3: {"peer": peer.Plugin{}}, 4: {"peer": peer.Plugin{}}},
		Cmd:              exec.Command(command[0], command[1:]...),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         mtls,
		SyncStdout:       &h.stdout,
		SyncStderr:       &h.stderr,
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: &h.log, JSONFormat: true}),
	}
	if mux {
		// Older versions have no such field.
		reflect.ValueOf(config).Elem().FieldByName("GRPCBrokerMultiplex").SetBool(true)
	}
	h.client = plugin.NewClient(config)
	err := h.connect()
	report("start", nil, err)
	if err == nil {
		for _, step := range steps {
			h.step(step)
		}
	}
	begun := time.Now()
	h.client.Kill()
	report("kill", map[string]interface{}{"milliseconds": time.Since(begun).Milliseconds(), "exited": h.client.Exited()}, nil)
	for _, line := range strings.Split(strings.TrimSpace(h.log.text()), "\n") {
		report("log", json.RawMessage(line), nil)
	}
}

func (h *host) connect() error {
	protocol, err := h.client.Client()
	if err != nil {
		return err
	}
	dispensed, err := protocol.Dispense("peer")
	if err != nil {
		return err
	}
	h.peer = dispensed.(*peer.Client)
	return nil
}

func (h *host) step(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	result, err := h.do(ctx, name)
	report(name, result, err)
}

func (h *host) do(ctx context.Context, name string) (interface{}, error) {
	bytesAnswer, textAnswer, empty := new(wrapperspb.BytesValue), new(wrapperspb.StringValue), new(emptypb.Empty)
	switch name {
	case "version":
		return h.client.NegotiatedVersion(), nil
	case "address":
		return h.client.ReattachConfig().Addr.String(), nil
	case "ping":
		protocol, err := h.client.Client()
		if err != nil {
			return nil, err
		}
		return nil, protocol.Ping()
	case "authority":
		err := h.peer.Call(ctx, "Authority", empty, textAnswer)
		return textAnswer.GetValue(), err
	case "echo":
		err := h.peer.Call(ctx, "Echo", wrapperspb.Bytes([]byte("hello")), bytesAnswer)
		return string(bytesAnswer.GetValue()), err
	case "large":
		err := h.peer.Call(ctx, "Large", wrapperspb.UInt32(16<<20), bytesAnswer)
		return len(bytesAnswer.GetValue()), err
	case "too-large":
		err := h.peer.Call(ctx, "Echo", wrapperspb.Bytes(make([]byte, 4<<20)), bytesAnswer)
		if err != nil {
			// The words are the library's, and so they differ.
			return status.Code(err).String(), nil
		}
		return nil, errors.New("it was taken")
	case "count":
		return h.peer.Count(ctx, 10000)
	case "fail", "long-fail":
		length := uint32(10)
		if name == "long-fail" {
			length = 1 << 20
		}
		err := h.peer.Call(ctx, "Fail", wrapperspb.UInt32(length), empty)
		return []interface{}{status.Code(err).String(), len(status.Convert(err).Message())}, nil
	case "call-back":
		return h.callBack(ctx)
	case "offer":
		return h.offer(ctx)
	case "both-ways":
		for range 8 {
			if result, err := h.callBack(ctx); err != nil {
				return result, err
			}
			if result, err := h.offer(ctx); err != nil {
				return result, err
			}
		}
		return "8 times", nil
	case "parallel":
		return h.parallel(ctx)
	case "dial-nobody":
		err := h.peer.Call(ctx, "CallBack", wrapperspb.UInt32(4711), bytesAnswer)
		return status.Code(err).String(), nil
	case "print":
		return h.print(ctx)
	case "kill-busy":
		return nil, h.busy()
	case "wait":
		// For whoever kills this process, or the plugin.
		report("pid", h.client.ReattachConfig().Pid, nil)
		_, err := io.Copy(io.Discard, os.Stdin)
		return nil, err
	}
	if pair := strings.SplitN(name, "=", 2); len(pair) == 2 && pair[0] == "environment" {
		err := h.peer.Call(ctx, "Environment", wrapperspb.String(pair[1]), textAnswer)
		return textAnswer.GetValue(), err
	}
	return nil, fmt.Errorf("no step %q", name)
}

// accept serves the peer's service to the plugin, until the client is killed.
func (h *host) accept() uint32 {
	id := h.peer.Broker.NextId()
	go h.peer.Broker.AcceptAndServe(id, func(options []grpc.ServerOption) *grpc.Server {
		server := grpc.NewServer(options...)
		peer.Register(server, &peer.Server{Broker: h.peer.Broker})
		return server
	})
	return id
}

func (h *host) callBack(ctx context.Context) (interface{}, error) {
	answer := new(wrapperspb.BytesValue)
	err := h.peer.Call(ctx, "CallBack", wrapperspb.UInt32(h.accept()), answer)
	return string(answer.GetValue()), err
}

func (h *host) offer(ctx context.Context) (interface{}, error) {
	id := new(wrapperspb.UInt32Value)
	if err := h.peer.Call(ctx, "Offer", &emptypb.Empty{}, id); err != nil {
		return nil, err
	}
	connection, err := h.peer.Broker.Dial(id.GetValue())
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	answer := new(wrapperspb.BytesValue)
	err = connection.Invoke(ctx, peer.Path("Echo"), wrapperspb.Bytes([]byte(peer.CalledBack)), answer)
	return string(answer.GetValue()), err
}

func (h *host) parallel(ctx context.Context) (interface{}, error) {
	var all sync.WaitGroup
	failures := make(chan error, 64)
	for number := range 64 {
		all.Add(1)
		go func() {
			defer all.Done()
			sent := bytes.Repeat([]byte{byte(number)}, 100*number)
			answer := new(wrapperspb.BytesValue)
			if err := h.peer.Call(ctx, "Echo", wrapperspb.Bytes(sent), answer); err != nil {
				failures <- err
			} else if !bytes.Equal(sent, answer.GetValue()) {
				failures <- errors.New("another's answer")
			}
		}()
	}
	all.Wait()
	close(failures)
	return 64, <-failures
}

func (h *host) print(ctx context.Context) (interface{}, error) {
	text := strings.Repeat("what is printed ", 1000)
	if err := h.peer.Call(ctx, "Print", wrapperspb.String(text), &emptypb.Empty{}); err != nil {
		return nil, err
	}
	for ctx.Err() == nil {
		if h.stdout.text() == text && h.stderr.text() == strings.ToUpper(text) {
			return "both", nil
		}
		time.Sleep(time.Millisecond)
	}
	return []int{len(h.stdout.text()), len(h.stderr.text())}, ctx.Err()
}

// busy leaves a call of each kind under way, in both directions.
func (h *host) busy() error {
	for range 4 {
		go h.peer.Call(context.Background(), "Hang", &emptypb.Empty{}, &emptypb.Empty{})
	}
	// What came back means that the others are there as well.
	return h.peer.Call(context.Background(), "Echo", &wrapperspb.BytesValue{}, &wrapperspb.BytesValue{})
}

// printed keeps what is written to it.
type printed struct {
	lock   sync.Mutex
	buffer bytes.Buffer
}

func (p *printed) Write(piece []byte) (int, error) {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.buffer.Write(piece)
}

func (p *printed) text() string {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.buffer.String()
}
