package virtual

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// Host is a Source: what this host has.
type Host struct{}

// Hostname is what uname(2) gives.
func (Host) Hostname() (string, error) { return os.Hostname() }

// ReadFile reads a file that is not large.
func (Host) ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxContent+1))
	if err == nil && len(b) > maxContent {
		err = fmt.Errorf("%s: larger than %d bytes", path, maxContent)
	}
	return b, err
}

// HardwareAddr is that of an interface.
func (Host) HardwareAddr(name string) (string, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return "", fmt.Errorf("interface %s: %w", name, err)
	}
	if len(i.HardwareAddr) != macSize {
		return "", fmt.Errorf("interface %s has no hardware address", name)
	}
	return i.HardwareAddr.String(), nil
}

// Snapshot is a Source: what is known of the host of a snapshot that was made
// without rules.
type Snapshot struct {
	Host string // its name
}

// Hostname is in the manifest.
func (s Snapshot) Hostname() (string, error) {
	if s.Host == "" {
		return "", errNoValue
	}
	return s.Host, nil
}

var errNoValue = errors.New("the snapshot does not have the value: give one")

// ReadFile has nothing.
func (Snapshot) ReadFile(string) ([]byte, error) { return nil, errNoValue }

// HardwareAddr has nothing.
func (Snapshot) HardwareAddr(string) (string, error) { return "", errNoValue }
