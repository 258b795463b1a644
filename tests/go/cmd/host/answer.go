package main

import (
	"encoding/json"
	"errors"
	"os"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// printer prints one line at a time.
type printer struct{ mutex sync.Mutex }

func (p *printer) line(line map[string]any) {
	text, err := json.Marshal(line)
	if err != nil {
		text, _ = json.Marshal(map[string]any{
			"id": line["id"], "error": map[string]any{"message": "the answer is no JSON: " + err.Error()},
		})
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	_, _ = os.Stdout.Write(append(text, '\n'))
}

func (p *printer) event(id uint64, event any) { p.line(map[string]any{"id": id, "event": event}) }

func (p *printer) answer(id uint64, result any, err error) {
	if err == nil {
		p.line(map[string]any{"id": id, "result": result})
		return
	}
	told := map[string]any{"message": err.Error()}
	var exit *exitError
	if errors.As(err, &exit) {
		told["exitCode"] = exit.code
	}
	var called interface{ GRPCStatus() *status.Status }
	if errors.As(err, &called) {
		told["code"] = called.GRPCStatus().Code().String()
	}
	// What came before the end is told beside it.
	line := map[string]any{"id": id, "error": told}
	if result != nil {
		line["result"] = result
	}
	p.line(line)
}

// exitError is an error for which a plugin gave an exit code.
type exitError struct {
	error
	code int32
}

func (e *exitError) Unwrap() error { return e.error }

// unimplemented says whether a call is one that the plugin is too old to know.
func unimplemented(err error) bool { return status.Code(err) == codes.Unimplemented }

// fields returns a message in the JSON of protobuf, under the names of the wire.
func fields(message proto.Message) (any, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(message)
	return json.RawMessage(text), err
}

// fill puts what a command says into a message.
func fill(text json.RawMessage, message proto.Message) error {
	if len(text) == 0 {
		return nil
	}
	return protojson.Unmarshal(text, message)
}
