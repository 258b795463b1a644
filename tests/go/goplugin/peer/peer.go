// Package peer is the service that both sides of the goplugin tests serve and call.
//
// It speaks of well-known types only, so there is nothing to generate and it builds with every version of
// go-plugin and gRPC that matters. The Rust side has the same table.
//
//	| Method          | Takes       | Gives              | Does                                            |
//	|-----------------|-------------|--------------------|-------------------------------------------------|
//	| Echo            | BytesValue  | BytesValue         | gives back what it is given                     |
//	| Large           | UInt32Value | BytesValue         | gives that many zero bytes                      |
//	| Fail            | UInt32Value | -                  | fails as Internal, with a message that long     |
//	| Count           | UInt32Value | stream UInt32Value | counts from 0 to below the number               |
//	| Hang            | Empty       | -                  | waits for its caller to give up                 |
//	| Print           | StringValue | Empty              | prints it to stdout, and to stderr in capitals  |
//	| CallBack        | UInt32Value | BytesValue         | dials that id, and returns what its Echo gives  |
//	| Hold            | UInt32Value | Empty              | dials that id, and keeps the connection         |
//	| Through         | BytesValue  | BytesValue         | returns what Echo gives behind what it keeps    |
//	| Chunks          | UInt32Value | stream BytesValue  | gives that many times 64 KiB                    |
//	| Offer           | Empty       | UInt32Value        | serves this again under an id, which it returns |
//	| OfferAs         | UInt32Value | Empty              | serves this again under that id                 |
//	| Exit            | UInt32Value | -                  | ends the process with that code                 |
//	| Environment     | StringValue | StringValue        | returns that variable                           |
//	| Authority       | Empty       | StringValue        | returns the :authority that the call came with  |
//
// Hold, Through and Chunks are for benchmarks, and only Go's plugin has them. CallBack and what Offer serves send and answer the bytes "called back".
package peer

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Name is the full name of the service.
const Name = "portcullis.test.Peer"

// Handshake is what hosts and plugins of these tests share.
var Handshake = plugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "GOPLUGIN_PEER",
	MagicCookieValue: "hello",
}

// Plugin makes the service a go-plugin plugin, on either side.
type Plugin struct {
	plugin.NetRPCUnsupportedPlugin
}

// GRPCServer serves it.
func (Plugin) GRPCServer(broker *plugin.GRPCBroker, server *grpc.Server) error {
	Register(server, &Server{Broker: broker})
	return nil
}

// GRPCClient returns a [Client].
func (Plugin) GRPCClient(_ context.Context, broker *plugin.GRPCBroker, connection *grpc.ClientConn) (interface{}, error) {
	return &Client{Broker: broker, Connection: connection}, nil
}

// Server is the service. Without a broker it cannot call back or offer anything.
type Server struct {
	Broker *plugin.GRPCBroker
	held   atomic.Value
}

// Register adds the service to a gRPC server.
func Register(to *grpc.Server, server *Server) {
	to.RegisterService(&grpc.ServiceDesc{
		ServiceName: Name,
		HandlerType: (*interface{})(nil),
		Methods:     methods(),
		Streams:     []grpc.StreamDesc{counting, chunking},
	}, server)
}

var counting = grpc.StreamDesc{StreamName: "Count", Handler: count, ServerStreams: true}

var chunking = grpc.StreamDesc{StreamName: "Chunks", Handler: chunks, ServerStreams: true}

func methods() []grpc.MethodDesc {
	return []grpc.MethodDesc{
		unary("Echo", (*Server).echo),
		unary("Large", (*Server).large),
		unary("Fail", (*Server).fail),
		unary("Hang", (*Server).hang),
		unary("Print", (*Server).print),
		unary("CallBack", (*Server).callBack),
		unary("Hold", (*Server).hold),
		unary("Through", (*Server).through),
		unary("Offer", (*Server).offer),
		unary("OfferAs", (*Server).offerAs),
		unary("Exit", (*Server).exit),
		unary("Environment", (*Server).environment),
		unary("Authority", (*Server).authority),
	}
}

// message is a pointer to what `M` names, and a message.
type message[M any] interface {
	*M
	proto.Message
}

func unary[M any, Request message[M], Answer proto.Message](
	name string,
	call func(*Server, context.Context, Request) (Answer, error),
) grpc.MethodDesc {
	handler := func(server interface{}, ctx context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
		request := Request(new(M))
		if err := decode(request); err != nil {
			return nil, err
		}
		return call(server.(*Server), ctx, request)
	}
	return grpc.MethodDesc{MethodName: name, Handler: handler}
}

func (*Server) echo(_ context.Context, request *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	return request, nil
}

func (*Server) large(_ context.Context, request *wrapperspb.UInt32Value) (*wrapperspb.BytesValue, error) {
	return wrapperspb.Bytes(make([]byte, request.GetValue())), nil
}

func (*Server) fail(_ context.Context, request *wrapperspb.UInt32Value) (*emptypb.Empty, error) {
	return nil, status.Error(codes.Internal, strings.Repeat("x", int(request.GetValue())))
}

func (*Server) hang(ctx context.Context, _ *emptypb.Empty) (*emptypb.Empty, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (*Server) print(_ context.Context, request *wrapperspb.StringValue) (*emptypb.Empty, error) {
	fmt.Fprint(os.Stdout, request.GetValue())
	fmt.Fprint(os.Stderr, strings.ToUpper(request.GetValue()))
	return &emptypb.Empty{}, nil
}

// CalledBack is what both sides send to each other's brokered servers.
const CalledBack = "called back"

func (s *Server) callBack(ctx context.Context, request *wrapperspb.UInt32Value) (*wrapperspb.BytesValue, error) {
	connection, err := s.Broker.Dial(request.GetValue())
	if err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	defer connection.Close()
	answer := new(wrapperspb.BytesValue)
	err = connection.Invoke(ctx, Path("Echo"), wrapperspb.Bytes([]byte(CalledBack)), answer)
	return answer, err
}

func (s *Server) hold(_ context.Context, request *wrapperspb.UInt32Value) (*emptypb.Empty, error) {
	connection, err := s.Broker.Dial(request.GetValue())
	if err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	s.held.Store(connection)
	return &emptypb.Empty{}, nil
}

func (s *Server) through(ctx context.Context, request *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	connection, ok := s.held.Load().(*grpc.ClientConn)
	if !ok {
		return nil, status.Error(codes.FailedPrecondition, "nothing is held")
	}
	answer := new(wrapperspb.BytesValue)
	err := connection.Invoke(ctx, Path("Echo"), request, answer)
	return answer, err
}

func (s *Server) offer(ctx context.Context, _ *emptypb.Empty) (*wrapperspb.UInt32Value, error) {
	id := s.Broker.NextId()
	_, err := s.offerAs(ctx, wrapperspb.UInt32(id))
	return wrapperspb.UInt32(id), err
}

func (s *Server) offerAs(_ context.Context, request *wrapperspb.UInt32Value) (*emptypb.Empty, error) {
	go s.Broker.AcceptAndServe(request.GetValue(), func(options []grpc.ServerOption) *grpc.Server {
		server := grpc.NewServer(options...)
		Register(server, s)
		return server
	})
	return &emptypb.Empty{}, nil
}

func (*Server) exit(_ context.Context, request *wrapperspb.UInt32Value) (*emptypb.Empty, error) {
	os.Exit(int(request.GetValue()))
	return nil, nil
}

func (*Server) environment(_ context.Context, request *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	return wrapperspb.String(os.Getenv(request.GetValue())), nil
}

func (*Server) authority(ctx context.Context, _ *emptypb.Empty) (*wrapperspb.StringValue, error) {
	headers, _ := metadata.FromIncomingContext(ctx)
	return wrapperspb.String(strings.Join(headers[":authority"], ",")), nil
}

func count(_ interface{}, stream grpc.ServerStream) error {
	request := new(wrapperspb.UInt32Value)
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	for number := uint32(0); number < request.GetValue(); number++ {
		if err := stream.SendMsg(wrapperspb.UInt32(number)); err != nil {
			return err
		}
	}
	return nil
}

func chunks(_ interface{}, stream grpc.ServerStream) error {
	request := new(wrapperspb.UInt32Value)
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	chunk := wrapperspb.Bytes(make([]byte, 64<<10))
	for range request.GetValue() {
		if err := stream.SendMsg(chunk); err != nil {
			return err
		}
	}
	return nil
}

// Path is where a method of the service is found.
func Path(method string) string { return "/" + Name + "/" + method }

// Client calls the service.
type Client struct {
	Broker     *plugin.GRPCBroker
	Connection *grpc.ClientConn
}

// Call makes one unary call.
func (c *Client) Call(ctx context.Context, method string, request, answer proto.Message) error {
	return c.Connection.Invoke(ctx, Path(method), request, answer)
}

// stream begins a streaming call of a number.
func (c *Client) stream(ctx context.Context, call *grpc.StreamDesc, number uint32) (grpc.ClientStream, error) {
	stream, err := c.Connection.NewStream(ctx, call, Path(call.StreamName))
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(wrapperspb.UInt32(number)); err != nil {
		return nil, err
	}
	return stream, stream.CloseSend()
}

// Chunks has that many chunks sent, and returns how many bytes came.
func (c *Client) Chunks(ctx context.Context, count uint32) (int, error) {
	stream, err := c.stream(ctx, &chunking, count)
	if err != nil {
		return 0, err
	}
	bytes := 0
	for {
		answer := new(wrapperspb.BytesValue)
		if err := stream.RecvMsg(answer); err != nil {
			if err == io.EOF {
				return bytes, nil
			}
			return bytes, err
		}
		bytes += len(answer.GetValue())
	}
}

// Count has numbers counted, and returns how many numbers came, in order.
func (c *Client) Count(ctx context.Context, to uint32) (uint32, error) {
	stream, err := c.stream(ctx, &counting, to)
	if err != nil {
		return 0, err
	}
	for number := uint32(0); ; number++ {
		answer := new(wrapperspb.UInt32Value)
		if err := stream.RecvMsg(answer); err != nil {
			if err == io.EOF {
				return number, nil
			}
			return number, err
		}
		if answer.GetValue() != number {
			return number, fmt.Errorf("expected %d, not %d", number, answer.GetValue())
		}
	}
}
