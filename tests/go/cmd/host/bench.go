package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portcullis-host/portcullis/tests/go/pluginpb"
)

// bench makes the same execution c.Calls times, c.InFlight of them at once, with the generated client and
// nothing around it, and returns how long each took and all together, in nanoseconds.
func (h *host) bench(ctx context.Context, c command) (any, error) {
	request, err := c.execution()
	if err != nil {
		return nil, err
	}
	each := make([]int64, c.Calls)
	failed := make([]error, c.InFlight)
	var next atomic.Int64
	var callers sync.WaitGroup
	begun := time.Now()
	for caller := range failed {
		callers.Go(func() {
			for {
				call := next.Add(1) - 1
				if call >= int64(len(each)) || failed[caller] != nil {
					return
				}
				started := time.Now()
				answer, err := h.providers.ExecuteProvider(ctx, request)
				each[call] = time.Since(started).Nanoseconds()
				failed[caller] = refused(answer, err)
			}
		})
	}
	callers.Wait()
	together := time.Since(begun).Nanoseconds()
	return map[string]any{"each": each, "together": together}, errors.Join(failed...)
}

func refused(answer *pluginpb.ExecuteProviderResponse, err error) error {
	if err == nil && answer.GetError() != "" {
		return errors.New(answer.GetError())
	}
	return err
}
