// Package task holds tasks.
package task

import (
	_ "github.com/alecthomas/kong"
	_ "github.com/fxamacker/cbor/v2"
	_ "github.com/rs/zerolog"
	_ "github.com/zeebo/xxh3"
	_ "golang.org/x/sys/unix"
)
