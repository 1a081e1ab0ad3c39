package procfs

// CPUs gives the numbers of the CPUs that are "online", or "possible" on this
// host (Linux Documentation/admin-guide/cputopology.rst).
func CPUs(which string) ([]int, error) {
	return readFile("/sys/devices/system/cpu/"+which, parseCPUs)
}

// parseCPUs parses a list of numbers and ranges, such as 0,2-3.
func parseCPUs(b []byte) ([]int, error) {
	const most = 1 << 16
	line, _ := cutLine(b)
	var cpus []int
	for c := (cursor{b: line}); !c.done(); {
		if len(cpus) > 0 {
			c.lit(",")
		}
		first := int(c.int())
		last := first
		if len(c.b) > 0 && c.b[0] == '-' {
			c.lit("-")
			last = int(c.int())
		}
		if c.bad || last < first || last > most {
			return nil, lineError(1, line, "not a list of CPUs")
		}
		for n := first; n <= last; n++ {
			cpus = append(cpus, n)
		}
	}
	if len(cpus) == 0 {
		return nil, fileError("no CPUs")
	}
	return cpus, nil
}
