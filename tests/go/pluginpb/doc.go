// Package pluginpb holds the stubs of the scafctl plugin contract, generated from proto/plugin.proto
// at the root of this repository. Nothing in it is written by hand but this file.
package pluginpb

//go:generate go run ../internal/gen ../../../proto/plugin.proto .
