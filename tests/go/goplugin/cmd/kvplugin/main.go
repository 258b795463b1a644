// Command kvplugin is a plugin that serves the peer's service, and nothing of ours.
package main

import (
	"github.com/hashicorp/go-plugin"

	"github.com/portcullis-host/portcullis/tests/go/goplugin/peer"
)

func main() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: peer.Handshake,
		VersionedPlugins: map[int]plugin.PluginSet{
			2: {"peer": peer.Plugin{}},
			3: {"peer": peer.Plugin{}},
		},
		GRPCServer: plugin.DefaultGRPCServer,
	})
}
