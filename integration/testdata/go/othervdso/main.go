// othervdso makes of an image one that seems to be of another kernel: the vDSO
// in it has code that is of no use here, since any instruction of it but those
// that a restart puts there is an invalid one. The pages stay where they are.
package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"

	"supervise/memimg"
	"supervise/treestate"
)

func main() {
	if err := rewrite(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "othervdso:", err)
		os.Exit(1)
	}
}

// rewrite makes the image at dir, with pages in the one at from.
func rewrite(from, dir string) error {
	old, err := memimg.Open(from)
	if err != nil {
		return err
	}
	defer old.Close()
	tree, err := treestate.Decode(old.Records())
	if err != nil {
		return err
	}
	if err := spoil(tree.VDSO.Image); err != nil {
		return err
	}
	records, err := tree.Encode()
	if err != nil {
		return err
	}
	w, err := memimg.Create(dir)
	if err != nil {
		return err
	}
	for _, space := range old.Spaces() {
		for _, e := range old.Extents(space) {
			e.Layer = 1
			if err := w.AddExtents(e); err != nil {
				return err
			}
		}
	}
	m := old.Manifest()
	m.Layers = []memimg.Layer{{Dir: "../" + filepath.Base(from), ID: m.ID}}
	_, err = w.Commit(m, records)
	return err
}

// spoil fills the code of a vDSO with ud2, and moves nothing.
func spoil(image []byte) error {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return err
	}
	text := f.Section(".text")
	if text == nil {
		return fmt.Errorf("no code in the vDSO")
	}
	for code := image[text.Offset:][:text.Size]; len(code) >= 2; code = code[2:] {
		copy(code, "\x0f\x0b")
	}
	return nil
}
