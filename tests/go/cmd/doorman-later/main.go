// Command doorman-later is doorman as later releases of the SDK have it: version 2 of the handshake and
// no other.
package main

import (
	"github.com/portcullis-host/portcullis/tests/go/internal/door"
	"github.com/portcullis-host/portcullis/tests/go/serve"
)

func main() {
	serve.ServeAuth(door.New(), map[int]serve.Generation{2: serve.Later})
}
