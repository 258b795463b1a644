// Command kvplugin is a plugin that serves the peer's service, and nothing of ours.
//
//	| Variable      | Effect                                                              |
//	|---------------|---------------------------------------------------------------------|
//	| PEER_STRANGER | the host's certificate is lost, so that nobody's is accepted        |
//	| PEER_TLS      | a directory with cert.pem and key.pem, for TLS as an author sets up |
package main

import (
	"crypto/tls"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-plugin"

	"github.com/portcullis-host/portcullis/tests/go/goplugin/peer"
)

func main() {
	if os.Getenv("PEER_STRANGER") != "" {
		os.Setenv("PLUGIN_CLIENT_CERT", "lost")
	}
	config := &plugin.ServeConfig{
		HandshakeConfig: peer.Handshake,
		VersionedPlugins: map[int]plugin.PluginSet{
			2: {"peer": peer.Plugin{}},
			3: {"peer": peer.Plugin{}},
		},
		GRPCServer: plugin.DefaultGRPCServer,
	}
	if directory := os.Getenv("PEER_TLS"); directory != "" {
		config.TLSProvider = func() (*tls.Config, error) {
			certificate, err := tls.LoadX509KeyPair(
				filepath.Join(directory, "cert.pem"), filepath.Join(directory, "key.pem"))
			return &tls.Config{Certificates: []tls.Certificate{certificate}}, err
		}
	}
	plugin.Serve(config)
}
