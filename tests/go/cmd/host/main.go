// Command host runs one scafctl plugin of either kind, as a Go host does that was never changed, and does with
// it what it is told.
//
//	host [-kind provider|auth] [-mode plain|automtls|mux|both] [-versions 1,2] [-no-service] [-start MILLIS]
//	     PLUGIN [ARGUMENT]...
//
// Commands are lines of JSON on stdin, each with an `id` of its own and a `do`; what else they hold is in
// [command]. They run beside each other: whoever wants one after the other waits for the answer. Each is
// answered by one line, `{"id":..,"result":..}` or `{"id":..,"error":{"message":..,"code":..,"exitCode":..}}`,
// in which a code is that of a failed call. Streaming calls and logins print a line `{"id":..,"event":..}`
// for whatever comes before. The first line, of id 0, says how the start went. At the end of stdin the
// plugin is ended, and the host with it.
//
//	| do                                                 | Does                                       |
//	|----------------------------------------------------|--------------------------------------------|
//	| providers, descriptor, configure, execute, stream, | a call of a provider; see provider.go      |
//	| what-if, dependencies, stop                        |                                            |
//	| handlers, configure, login, logout, status, token, | a call of an auth handler; see auth.go     |
//	| tokens, purge, stop, flows, server-mode            |                                            |
//	| bench                                              | many executions, timed; see bench.go       |
//	| ping                                               | asks for the plugin's health               |
//	| cancel, proceed                                    | the call of the id `of` is given up, or    |
//	|                                                    | held back no longer                        |
//	| serve                                              | what the host has from now on; service.go  |
//	| served                                             | what it has, and what it was asked         |
//	| printed                                            | what the plugin printed                    |
//	| log                                                | every line of the host's log               |
//	| kill                                               | ends the plugin, and says how that went    |
//
// The words around errors, the order of things and what is lost on the way are scafctl's (contract spec 4
// and 5). The way to its host is announced just before the first configuration.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// command is one line of stdin. What a command does not need is left out.
type command struct {
	ID uint64 `json:"id"`
	Do string `json:"do"`
	// Name is that of the provider or handler.
	Name string `json:"name"`
	// Input is written again as scafctl writes it; Raw goes as it is, and wins.
	Input json.RawMessage `json:"input"`
	Raw   *string         `json:"raw"`
	// Settings are those of a configuration or of one execution.
	Settings map[string]json.RawMessage `json:"settings"`
	// Request has the rest of the call's message, in the JSON of protobuf.
	Request json.RawMessage `json:"request"`
	// Millis is how long the call may take; without it there is no limit.
	Millis int64 `json:"millis"`
	// Sizes has a stream tell how much came, and not what.
	Sizes bool `json:"sizes"`
	// Hold stops reading a stream after so many messages, until told to proceed.
	Hold int `json:"hold"`
	// Calls is how many executions are timed, InFlight how many of them at once.
	Calls    int `json:"calls"`
	InFlight int `json:"inFlight"`
	// Of is the command that cancel and proceed are about.
	Of uint64 `json:"of"`
	// Serve is what the host has.
	Serve *having `json:"serve"`
}

func main() {
	options := options{}
	flag.StringVar(&options.kind, "kind", "provider", "provider or auth")
	flag.StringVar(&options.mode, "mode", "plain", "plain, automtls, mux or both")
	flag.BoolVar(&options.noService, "no-service", false, "offer nothing to the plugin, as the stock command does")
	versions := flag.String("versions", "", "versions of the handshake; all that the kind has, if empty")
	start := flag.Int64("start", 60_000, "how many milliseconds a start may take")
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if _, known := kinds[options.kind]; !known {
		fmt.Fprintln(os.Stderr, "host: there is no kind", options.kind)
		os.Exit(2)
	}
	options.start = time.Duration(*start) * time.Millisecond
	options.command = flag.Args()
	for _, text := range strings.FieldsFunc(*versions, func(r rune) bool { return r == ',' }) {
		version, err := strconv.Atoi(text)
		if err != nil {
			fmt.Fprintln(os.Stderr, "host:", err)
			os.Exit(2)
		}
		options.versions = append(options.versions, version)
	}
	commands := os.Stdin
	// The plugin inherits the host's stdin, and must not read what is meant for the host.
	os.Stdin, _ = os.Open(os.DevNull)
	begun := time.Now()
	h := prepare(options)
	err := h.launch(options)
	started := map[string]any{"milliseconds": milliseconds(begun)}
	if err == nil {
		running := h.client.ReattachConfig()
		started["pid"], started["address"] = running.Pid, running.Addr.String()
		started["version"] = h.client.NegotiatedVersion()
	}
	h.print.answer(0, started, err)
	h.obey(commands)
	h.client.Kill()
}

func milliseconds(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }

// obey carries out every command, and returns when there are no more and all are answered.
func (h *host) obey(commands io.Reader) {
	var running sync.WaitGroup
	everything, giveUp := context.WithCancel(context.Background())
	lines := bufio.NewReaderSize(commands, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var c command
		if err := json.Unmarshal(line, &c); err != nil {
			h.print.answer(0, nil, fmt.Errorf("no command: %w", err))
			continue
		}
		switch c.Do {
		case "cancel", "proceed":
			h.tell(c)
			continue
		}
		ctx, cancel := context.WithCancel(everything)
		if c.Millis != 0 {
			ctx, cancel = context.WithTimeout(everything, time.Duration(c.Millis)*time.Millisecond)
		}
		call := &call{id: c.ID, cancel: cancel, proceed: make(chan struct{}, 1)}
		h.calls.Store(c.ID, call)
		running.Add(1)
		go func() {
			defer running.Done()
			result, err := h.do(ctx, call, c)
			cancel()
			h.calls.Delete(c.ID)
			h.print.answer(c.ID, result, err)
		}()
	}
	giveUp()
	running.Wait()
}

// call is a command that is being carried out.
type call struct {
	id      uint64
	cancel  context.CancelFunc
	proceed chan struct{}
}

// tell does something to a call that is under way, and is answered at once.
func (h *host) tell(c command) {
	found, ok := h.calls.Load(c.Of)
	if ok && c.Do == "cancel" {
		found.(*call).cancel()
	}
	if ok && c.Do == "proceed" {
		select {
		case found.(*call).proceed <- struct{}{}:
		default:
		}
	}
	h.print.answer(c.ID, ok, nil)
}

// held waits until a call may go on.
func (c *call) held(ctx context.Context) error {
	select {
	case <-c.proceed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *host) do(ctx context.Context, call *call, c command) (any, error) {
	switch c.Do {
	case "kill":
		return h.kill(), nil
	case "log":
		return h.log.lines(), nil
	case "printed":
		return map[string]string{"stdout": h.stdout.text(), "stderr": h.stderr.text()}, nil
	}
	if h.service == nil {
		return nil, fmt.Errorf("there is no plugin to %s", c.Do)
	}
	switch {
	case c.Do == "serve" && c.Serve != nil:
		h.service.have(c.Serve)
		return nil, nil
	case c.Do == "served":
		return h.service.served(), nil
	case c.Do == "ping":
		return nil, h.protocol.Ping()
	case h.providers != nil:
		return h.provide(ctx, call, c)
	default:
		return h.authenticate(ctx, call, c)
	}
}
