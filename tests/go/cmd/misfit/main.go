// Command misfit speaks go-plugin by hand and gets it wrong, in the way that its first argument names. Hosts can speak
// with it all the same.
//
//	| Way      | What is wrong                                                                         |
//	|----------|---------------------------------------------------------------------------------------|
//	| loner    | no cookie is asked for; five fields; only a health service, which says NOT_SERVING;     |
//	|          | log lines that are nearly those of hclog                                              |
//	| loiterer | a seventh field that nobody asked for, and a second line after it; ends late, with    |
//	|          | code 3, and leaves its socket                                                         |
//	| stranger | shows a certificate that is nobody's and serves without TLS                           |
//	| boaster  | shows a good certificate and serves without TLS                                       |
//
// The loiterer has server reflection in its older version only, and logs the variables MISFIT_SAYS and MISFIT_HIDES.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/types/known/emptypb"
)

// late is longer than hosts wait, and shorter than the probe does.
const late = 2300 * time.Millisecond

func main() {
	way := strings.Join(os.Args[1:], " ")
	switch way {
	case "loner":
		loner()
	case "loiterer":
		loiterer()
	case "stranger":
		serve("|"+base64.RawStdEncoding.EncodeToString(make([]byte, 300)), grpc.NewServer())
	case "boaster":
		serve("|"+base64.RawStdEncoding.EncodeToString(certificate()), grpc.NewServer())
	default:
		fmt.Fprintf(os.Stderr, "misfit: there is no way %q\n", way)
		os.Exit(2)
	}
}

func loner() {
	fmt.Fprintln(os.Stderr, `{nearly JSON`)
	fmt.Fprintln(os.Stderr, `{"@level":"info","@message":"timeless"}`)
	fmt.Fprintln(os.Stderr, `{"@level":"INFO","@message":"large","@timestamp":"2026-01-01T00:00:00.000000Z"}`)
	fmt.Fprintln(os.Stderr, `{"@level":"info","@message":"short","@timestamp":"2026-01-01T00:00:00.000Z"}`)
	fmt.Fprintln(os.Stderr, `{"@level":"fatal","@message":"loud","@timestamp":"2026-01-01T00:00:00.000000Z"}`)
	server := grpc.NewServer()
	checks := health.NewServer()
	checks.SetServingStatus("plugin", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(server, checks)
	serve("", server)
}

func loiterer() {
	if os.Getenv("MISFIT_COOKIE") != "crumbs" {
		fmt.Fprintln(os.Stderr, "this is a plugin")
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "[INFO] says %q hides %q\n", os.Getenv("MISFIT_SAYS"), os.Getenv("MISFIT_HIDES"))
	server := grpc.NewServer()
	checks := health.NewServer()
	checks.SetServingStatus("plugin", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, checks)
	grpc_reflection_v1alpha.RegisterServerReflectionServer(
		server, reflection.NewServer(reflection.ServerOptions{Services: server}))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "plugin.GRPCController",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Shutdown", Handler: shutdown}},
	}, server)
	for service, stream := range map[string]string{
		"plugin.GRPCBroker": "StartStream",
		"plugin.GRPCStdio":  "StreamStdio",
	} {
		server.RegisterService(&grpc.ServiceDesc{
			ServiceName: service,
			HandlerType: (*any)(nil),
			Streams: []grpc.StreamDesc{{
				StreamName: stream, Handler: keepOpen, ServerStreams: true, ClientStreams: true,
			}},
		}, server)
	}
	serve("||true\nand a word more", server)
}

func keepOpen(_ any, stream grpc.ServerStream) error {
	<-stream.Context().Done()
	return nil
}

func shutdown(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	time.AfterFunc(late, func() { os.Exit(3) })
	return new(emptypb.Empty), decode(new(emptypb.Empty))
}

// certificate makes one that hosts would take.
func certificate() []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return der
}

// serve prints the five fields and what is to follow them, and serves.
func serve(after string, server *grpc.Server) {
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "misfit")
	listener, err := net.Listen("unix", path)
	if err != nil {
		panic(err)
	}
	fmt.Printf("1|1|unix|%s|grpc%s\n", path, after)
	_ = server.Serve(listener)
}
