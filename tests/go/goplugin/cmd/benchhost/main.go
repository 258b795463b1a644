// Command benchhost is the Go side of a benchmark: a host that keeps its plugins and does one round of
// something whenever a line on stdin asks for it, so that another host can take turns with it.
//
//	benchhost PLUGIN
//
// A line is `WHAT MODE SIZE CALLS CALLERS`, and is answered by a line with the times in nanoseconds of every
// call and, last, of all together. MODE is plain, automtls, mux or both; a plugin of each is started when it is
// first asked for, and all end with stdin.
//
//	| WHAT    | One call                                                                |
//	|---------|-------------------------------------------------------------------------|
//	| echo    | Echo of SIZE bytes                                                      |
//	| through | the same, through the plugin and back to a brokered server of the host  |
//	| dialled | a brokered server is made, and the plugin dials it and calls it once    |
//	| chunks  | a stream of SIZE chunks of 64 KiB                                       |
//	| start   | a plugin is started and answers an Echo; how it ends is not measured    |
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portcullis-host/portcullis/tests/go/goplugin/peer"
)

type running struct {
	client *plugin.Client
	peer   *peer.Client
}

func main() {
	kept := map[string]*running{}
	defer func() {
		for _, plugin := range kept {
			plugin.client.Kill()
		}
	}()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var what, mode string
		var size, calls, callers int
		if _, err := fmt.Sscan(lines.Text(), &what, &mode, &size, &calls, &callers); err != nil {
			panic(err)
		}
		var times []int64
		if what == "start" {
			times = starts(mode, calls)
		} else {
			if kept[mode] == nil {
				kept[mode] = start(mode)
				kept[mode].hold()
			}
			times = kept[mode].round(what, size, calls, callers)
		}
		fmt.Println(strings.Trim(fmt.Sprint(times), "[]"))
	}
}

func start(mode string) *running {
	config := &plugin.ClientConfig{
		HandshakeConfig:  peer.Handshake,
		VersionedPlugins: map[int]plugin.PluginSet{3: {"peer": peer.Plugin{}}},
		Cmd:              exec.Command(os.Args[1]),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         mode == "automtls" || mode == "both",
		Logger:           hclog.NewNullLogger(),
	}
	if mode == "mux" || mode == "both" {
		// Older versions have no such field.
		reflect.ValueOf(config).Elem().FieldByName("GRPCBrokerMultiplex").SetBool(true)
	}
	client := plugin.NewClient(config)
	protocol, err := client.Client()
	must(err)
	dispensed, err := protocol.Dispense("peer")
	must(err)
	return &running{client: client, peer: dispensed.(*peer.Client)}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// offer serves the peer's service to the plugin.
func (r *running) offer() uint32 {
	id := r.peer.Broker.NextId()
	go r.peer.Broker.AcceptAndServe(id, func(options []grpc.ServerOption) *grpc.Server {
		server := grpc.NewServer(options...)
		peer.Register(server, &peer.Server{})
		return server
	})
	return id
}

func (r *running) hold() {
	must(r.peer.Call(context.Background(), "Hold", wrapperspb.UInt32(r.offer()), &emptypb.Empty{}))
}

// round makes the calls, shared out among the callers.
func (r *running) round(what string, size, calls, callers int) []int64 {
	times := make([]int64, calls+1)
	payload := make([]byte, size)
	var all sync.WaitGroup
	begun := time.Now()
	for caller := range callers {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := caller; n < calls; n += callers {
				before := time.Now()
				r.call(what, payload)
				times[n] = time.Since(before).Nanoseconds()
			}
		}()
	}
	all.Wait()
	times[calls] = time.Since(begun).Nanoseconds()
	return times
}

func (r *running) call(what string, payload []byte) {
	ctx, answer := context.Background(), new(wrapperspb.BytesValue)
	switch what {
	case "echo":
		must(r.peer.Call(ctx, "Echo", wrapperspb.Bytes(payload), answer))
	case "through":
		must(r.peer.Call(ctx, "Through", wrapperspb.Bytes(payload), answer))
	case "dialled":
		// On a multiplexed connection the plugin may come before the goroutine that offers does. go-plugin fails then.
		err := r.peer.Call(ctx, "CallBack", wrapperspb.UInt32(r.offer()), answer)
		for status.Code(err) == codes.Unavailable {
			err = r.peer.Call(ctx, "CallBack", wrapperspb.UInt32(r.offer()), answer)
		}
		must(err)
		return
	case "chunks":
		bytes, err := r.peer.Chunks(ctx, uint32(len(payload)))
		must(err)
		if bytes != len(payload)<<16 {
			panic("chunks are missing")
		}
		return
	}
	if len(answer.GetValue()) != len(payload) {
		panic("another's answer")
	}
}

func starts(mode string, count int) []int64 {
	times, total := []int64{}, int64(0)
	for range count {
		begun := time.Now()
		plugin := start(mode)
		plugin.call("echo", make([]byte, 16))
		took := time.Since(begun).Nanoseconds()
		plugin.client.Kill()
		times, total = append(times, took), total+took
	}
	return append(times, total)
}
