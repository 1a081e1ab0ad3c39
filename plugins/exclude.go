package plugins

import (
	"fmt"

	"supervise/plugins/client"
)

// Undumped is memory that the program has marked by madvise(MADV_DONTDUMP), as
// nothing that a core dump needs. So far there is no other that can be left out
// of a snapshot by such a name.
const Undumped = "dontdump"

// excluding is a plugin that is built in: it leaves out memory.
func excluding(what string) (*Plugin, error) {
	if err := checkExclude(what); err != nil {
		return nil, err
	}
	return builtIn("exclude", func(client.Event) (*Reply, error) { return &Reply{Exclude: []string{what}}, nil }, client.BeforeFreeze), nil
}

func checkExclude(what string) error {
	if what != Undumped {
		return fmt.Errorf("%q is nothing that can be excluded; %s is", what, Undumped)
	}
	return nil
}
