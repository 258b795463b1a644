package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/portcullis-host/portcullis/tests/go/serve"
)

// stream writes `chunks` chunks of `size` bytes, the first of letters a, the next of letters b and so on
// from z to a; after every `stderrEvery`-th the line `chunk N` goes to stderr, counted from 1. Between
// two chunks it waits `pauseMillis`.
func stream(ctx context.Context, in *input, send func(serve.Chunk)) (*serve.Output, error) {
	for n := 1; n <= in.Chunks && send != nil; n++ {
		if n > 1 {
			if err := wait(ctx, in.PauseMillis); err != nil {
				return nil, err
			}
		}
		letter := byte('a' + (n-1)%26)
		send(serve.Chunk{Stdout: bytes.Repeat([]byte{letter}, in.Size)})
		if in.StderrEvery != 0 && n%in.StderrEvery == 0 {
			send(serve.Chunk{Stderr: fmt.Appendf(nil, "chunk %d\n", n)})
		}
	}
	return &serve.Output{
		Data:     object{"chunks": in.Chunks, "bytes": in.Chunks * in.Size},
		Streamed: send != nil,
	}, nil
}

// wait waits, unless the caller gives up first.
func wait(ctx context.Context, millis int) error {
	select {
	case <-time.After(time.Duration(millis) * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
