// Package goplugin holds the peers of the goplugin crate's tests: a plugin and a host that know nothing of
// our contract.
//
// One source, three module files: go.mod is the newest go-plugin, go16.mod and go14.mod older ones, chosen by
// `go build -modfile`. 1.4.8 builds with gRPC 1.38 only, and that only with the later protobuf API.
package goplugin
