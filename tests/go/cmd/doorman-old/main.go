// Command doorman-old is doorman as the first release of the contract would have had it: version 1 of the
// handshake, no configuration, nothing to stop, no way back to the host.
package main

import (
	"github.com/portcullis-host/portcullis/tests/go/internal/door"
	"github.com/portcullis-host/portcullis/tests/go/serve"
)

func main() {
	serve.ServeAuth(door.New(), map[int]serve.Generation{1: serve.Oldest})
}
