package supervisor

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"supervise/internal/procfs"
)

// inherited is what this process was started with and a program must be
// started with in turn. The Go runtime has changed most of it by now, and
// would give its child something else (os/exec, syscall.ForkExec): defaults
// for signals that were ignored, no signal blocked that the runtime needs, and
// an environment without duplicates.
type inherited struct {
	ignored uint64 // set of signals; bit 0 is signal 1
	blocked uint64
	environ []string
}

// readInherited finds out. The runtime keeps the dispositions it has replaced
// and the first signal mask in two variables. They are read by their names in
// the symbol table; in a stripped binary only what the runtime leaves alone is
// passed on: ignored SIGHUP and SIGINT, and most of the mask.
func readInherited() (inherited, error) {
	st, err := procfs.ReadStatus(os.Getpid())
	if err != nil {
		return inherited{}, err
	}
	in := inherited{ignored: st.SigIgn, blocked: st.SigBlk, environ: initialEnviron()}
	vars, err := runtimeVars("runtime.fwdSig", "runtime.initSigmask")
	if err != nil {
		return in, nil
	}
	const sigIgn = 1 // SIG_IGN
	for sig := 1; sig <= lastSignal; sig++ {
		if handler := vars[0][8*sig:]; binary.LittleEndian.Uint64(handler) == sigIgn {
			in.ignored |= 1 << (sig - 1)
		}
	}
	in.blocked = binary.LittleEndian.Uint64(vars[1])
	return in, nil
}

// initialEnviron gives the environment as it came, duplicates and all. A
// binary that its user may not read hides it (man 5 proc, environ).
func initialEnviron() []string {
	b, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		return os.Environ()
	}
	if len(b) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00")
}

// start runs fn, which starts a process, in the state that was inherited. It
// leaves ignored signals ignored: they do not matter to the new process. Only
// SIGCHLD is set right at once, for its being ignored would make the kernel
// throw the exit status away.
func (in *inherited) start(fn func() error) error {
	var chld sigaction
	if err := rtSigaction(syscall.SIGCHLD, nil, &chld); err != nil {
		return err
	}
	for _, sig := range catchable() {
		if in.ignored&(1<<(sig-1)) != 0 {
			signal.Ignore(sig)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// A child gets the mask of the thread that forks it.
	old, err := setMask(in.blocked)
	if err != nil {
		return err
	}
	err = fn()
	err = errors.Join(err, rtSigaction(syscall.SIGCHLD, &chld, nil))
	_, maskErr := setMask(old)
	return errors.Join(err, maskErr)
}

// minSizes are what this package relies on in the variables it reads.
var minSizes = map[string]uint64{
	"runtime.fwdSig":      8 * (lastSignal + 1),
	"runtime.initSigmask": 8,
}

// runtimeVars reads variables of the Go runtime in this process.
func runtimeVars(names ...string) ([][]byte, error) {
	exe, err := elf.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	defer exe.Close()
	if exe.Type != elf.ET_EXEC {
		return nil, errors.New("position-independent: addresses are not those in the file")
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	vars := make([][]byte, len(names))
	for i, name := range names {
		sym, err := findSymbol(exe, name)
		if err != nil {
			return nil, err
		}
		if sym.Size < minSizes[name] {
			return nil, fmt.Errorf("%s has %d bytes, not %d", name, sym.Size, minSizes[name])
		}
		vars[i] = make([]byte, sym.Size)
		if _, err := mem.ReadAt(vars[i], int64(sym.Value)); err != nil {
			return nil, err
		}
	}
	return vars, nil
}

// findSymbol looks a symbol up by name without making a list of all, which
// takes several milliseconds.
func findSymbol(exe *elf.File, name string) (*elf.Sym64, error) {
	symtab, strtab := exe.Section(".symtab"), exe.Section(".strtab")
	if symtab == nil || strtab == nil {
		return nil, errors.New("no symbol table")
	}
	names, err := strtab.Data()
	if err != nil {
		return nil, err
	}
	at := bytes.Index(names, []byte("\x00"+name+"\x00")) + 1
	symbols, err := symtab.Data()
	if err != nil {
		return nil, err
	}
	for ; at > 0 && len(symbols) >= elf.Sym64Size; symbols = symbols[elf.Sym64Size:] {
		if exe.ByteOrder.Uint32(symbols) == uint32(at) {
			sym := new(elf.Sym64)
			return sym, binary.Read(bytes.NewReader(symbols), exe.ByteOrder, sym)
		}
	}
	return nil, fmt.Errorf("no symbol %s", name)
}
