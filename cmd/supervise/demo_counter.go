package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

// demoCounterCmd is the program that the demo takes a snapshot of. Every line
// it writes has the same length: number, pid, and a link of a chain of hashes.
// The first link is random, each other one follows from the one before, which
// only the program's memory has. A line that is right proves that the memory
// is.
type demoCounterCmd struct {
	File string `arg:""`
}

// link is one of the chain.
type link [sha256.Size]byte

func (l link) next() link { return sha256.Sum256(l[:]) }

// randomLink makes the first link.
func randomLink(l *link) error {
	random, err := os.Open("/dev/urandom")
	if err != nil {
		return err
	}
	defer random.Close()
	_, err = io.ReadFull(random, l[:])
	return err
}

// lineSize is the length of a line, newline included.
const lineSize = 9 + 9 + 2*sha256.Size + 1

func (c *demoCounterCmd) Run() error {
	f, err := os.Create(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	var l link
	if err := randomLink(&l); err != nil {
		return err
	}
	ask, answer := make(chan link), make(chan link)
	for range 4 {
		go func() {
			for l := range ask {
				answer <- l.next()
			}
		}()
	}
	n := 0
	for range time.Tick(10 * time.Millisecond) {
		n++
		if _, err := fmt.Fprintf(f, "%08d %08d %x\n", n, os.Getpid(), l[:]); err != nil {
			return err
		}
		ask <- l
		l = <-answer
	}
	return nil
}

// counted is what the counter has written so far.
type counted struct {
	lines int
	pid   int
	err   error // a line that does not follow from the one before
}

// count reads the counter's file and checks every line.
func (d *demo) count() counted {
	b, err := os.ReadFile(d.path("numbers"))
	if os.IsNotExist(err) {
		return counted{}
	}
	c := counted{err: err}
	var want link
	for ; len(b) >= lineSize && c.err == nil; b = b[lineSize:] {
		c.check(b[:lineSize], &want)
	}
	return c
}

// check checks one line. want is the link it must have, unless it is the first,
// and then the one that must come next.
func (c *counted) check(line []byte, want *link) {
	fields := bytes.Fields(line)
	var l link
	if len(fields) != 3 {
		c.err = fmt.Errorf("line %d is %q", c.lines+1, line)
		return
	}
	number, numberErr := strconv.Atoi(string(fields[0]))
	pid, pidErr := strconv.Atoi(string(fields[1]))
	_, linkErr := hex.Decode(l[:], fields[2])
	c.lines++
	switch {
	case numberErr != nil || pidErr != nil || linkErr != nil || number != c.lines:
		c.err = fmt.Errorf("line %d is %q", c.lines, line)
	case c.lines > 1 && l != *want:
		c.err = fmt.Errorf("line %d does not follow from the one before", c.lines)
	}
	c.pid, *want = pid, l.next()
}
