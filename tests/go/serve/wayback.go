package serve

import (
	"context"
	"sync"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// wayBack is the one connection to the host that serves everything in the process.
type wayBack struct {
	broker *plugin.GRPCBroker

	mutex      sync.Mutex
	connection *grpc.ClientConn
	host       *Host
}

// dial connects to the host's service, once per process.
func (w *wayBack) dial(id uint32) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if id == 0 || w.host != nil {
		return nil
	}
	connection, err := w.broker.Dial(id)
	if err != nil {
		return err
	}
	w.connection, w.host = connection, newHost(connection)
	return nil
}

func (w *wayBack) withHost(ctx context.Context) context.Context {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.host == nil {
		return ctx
	}
	return context.WithValue(ctx, hostKey{}, w.host)
}

// forget closes the connection, for everybody in the process.
func (w *wayBack) forget() {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.connection != nil {
		_ = w.connection.Close()
	}
	w.connection, w.host = nil, nil
}
