// Command doorman is an honest auth handler plugin; package door says what it does.
//
// It speaks both versions of the handshake: in version 2 every call, in version 1 those that releases
// had which spoke it. A host that offers both gets version 2.
package main

import (
	"github.com/portcullis-host/portcullis/tests/go/internal/door"
	"github.com/portcullis-host/portcullis/tests/go/serve"
)

func main() {
	serve.ServeAuth(door.New(), map[int]serve.Generation{1: serve.Older, 2: serve.Later})
}
