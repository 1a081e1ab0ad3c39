package procfs

import "strings"

// VMFlags is the set of the two-letter codes in a VmFlags line of
// /proc/PID/smaps. The bits are this package's own; the kernel's differ
// between architectures.
type VMFlags uint64

// The codes of Linux fs/proc/task_mmu.c:show_smap_vma_flags, v6.19. Linux 6.18.44
// has gu already. The protection key has a line of its own.
const (
	VMRead        VMFlags = 1 << iota // rd
	VMWrite                           // wr
	VMExec                            // ex
	VMShared                          // sh: writes go to the object
	VMMayRead                         // mr
	VMMayWrite                        // mw
	VMMayExec                         // me
	VMMayShare                        // ms: mapped MAP_SHARED, though perhaps read-only
	VMGrowsDown                       // gd: MAP_GROWSDOWN, and the stack
	VMPFNMap                          // pf: page frames without struct page
	VMMaybeGuard                      // gu: has had MADV_GUARD_INSTALL
	VMLocked                          // lo: mlock(2)
	VMIO                              // io: device memory
	VMSeqRead                         // sr: MADV_SEQUENTIAL
	VMRandRead                        // rr: MADV_RANDOM
	VMDontCopy                        // dc: MADV_DONTFORK
	VMDontExpand                      // de: mremap(2) may not grow it
	VMLockOnFault                     // lf: MLOCK_ONFAULT
	VMAccount                         // ac: counts against the commit limit
	VMNoReserve                       // nr: MAP_NORESERVE
	VMHugeTLB                         // ht: MAP_HUGETLB, hugetlbfs
	VMSync                            // sf: MAP_SYNC
	VMArch1                           // ar: architecture's own
	VMWipeOnFork                      // wf: MADV_WIPEONFORK
	VMDontDump                        // dd: MADV_DONTDUMP
	VMSoftDirty                       // sd: soft-dirty tracking
	VMMixedMap                        // mm: pages with and without struct page
	VMHugePage                        // hg: MADV_HUGEPAGE
	VMNoHugePage                      // nh: MADV_NOHUGEPAGE
	VMMergeable                       // mg: MADV_MERGEABLE
	VMUffdMissing                     // um: userfaultfd, missing pages
	VMUffdWP                          // uw: userfaultfd, write-protect
	VMUffdMinor                       // ui: userfaultfd, minor faults
	VMShadowStack                     // ss: x86 shadow stack
	VMDroppable                       // dp: MAP_DROPPABLE
	VMSealed                          // sl: mseal(2)
	VMMTE                             // mt: arm64 memory tagging
	VMBTI                             // bt: arm64 branch target identification
)

// vmFlagCodes has the code of each flag, in the order of the constants.
var vmFlagCodes = [...]string{
	"rd", "wr", "ex", "sh", "mr", "mw", "me", "ms", "gd", "pf", "gu", "lo", "io",
	"sr", "rr", "dc", "de", "lf", "ac", "nr", "ht", "sf", "ar", "wf", "dd", "sd",
	"mm", "hg", "nh", "mg", "um", "uw", "ui", "ss", "dp", "sl", "mt", "bt",
}

// vmFlagByCode finds a flag by the two letters of its code.
var vmFlagByCode = func() (table [26 * 26]VMFlags) {
	for i, code := range vmFlagCodes {
		table[int(code[0]-'a')*26+int(code[1]-'a')] = 1 << i
	}
	return table
}()

// vmFlag returns the flag with the given code, or 0 if it has no constant here.
func vmFlag[T string | []byte](code T) VMFlags {
	if len(code) != 2 || code[0] < 'a' || code[0] > 'z' || code[1] < 'a' || code[1] > 'z' {
		return 0
	}
	return vmFlagByCode[int(code[0]-'a')*26+int(code[1]-'a')]
}

// Has reports whether the set has the flag with a two-letter code. A code that
// no kernel prints is in no set.
func (f VMFlags) Has(code string) bool {
	return f&vmFlag(code) != 0
}

// String returns the codes, separated by spaces.
func (f VMFlags) String() string {
	var s strings.Builder
	for i, code := range vmFlagCodes {
		if f&(1<<i) == 0 {
			continue
		}
		if s.Len() > 0 {
			s.WriteByte(' ')
		}
		s.WriteString(code)
	}
	return s.String()
}

// parseVMFlags parses what follows "VmFlags:", and returns the codes without a
// constant by name. The kernel prints "??" for a flag it has no name for.
func parseVMFlags(b []byte) (flags VMFlags, unknown []string) {
	c := cursor{b: b}
	for c.blanks(); len(c.b) > 0; c.blanks() {
		code := c.word()
		flag := vmFlag(code)
		if flag == 0 {
			unknown = append(unknown, string(code))
		}
		flags |= flag
	}
	return flags, unknown
}
