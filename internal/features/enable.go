package features

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// enableKernel is for what only a newer kernel has.
func enableKernel(err error) string {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return "a security policy (seccomp, LSM) that does not forbid it"
	}
	return "a newer kernel"
}

// enableConfig is for what the kernel may be built without.
func enableConfig(option string) func(error) string {
	return func(err error) string {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			return enableKernel(err)
		}
		return "a kernel built with " + option
	}
}

// enableCapability is for what a capability allows.
func enableCapability(name string) func(error) string {
	return func(err error) string {
		if errors.Is(err, unix.EPERM) {
			return name + ", or root"
		}
		return enableKernel(err)
	}
}

// enablePtrace knows who may forbid ptrace.
func enablePtrace(error) string {
	scope := sysctl("kernel/yama/ptrace_scope")
	if scope == "3" { // Linux Documentation/admin-guide/LSM/Yama.rst
		return "a reboot with a lower kernel.yama.ptrace_scope: 3 stays, and holds for root, too"
	}
	if scope != "" && scope != "0" {
		return fmt.Sprintf("kernel.yama.ptrace_scope=0 (it is %s), or CAP_SYS_PTRACE", scope)
	}
	return "a security policy (seccomp, LSM) that does not forbid ptrace"
}

// namespaceLimits are the sysctls by which user namespaces are forbidden to
// ordinary users, with the value that allows them.
var namespaceLimits = []struct {
	name   string
	forbid string
	allow  string
}{
	{"user/max_user_namespaces", "0", "user.max_user_namespaces=10000"},
	{"user/max_pid_namespaces", "0", "user.max_pid_namespaces=10000"},
	{"user/max_mnt_namespaces", "0", "user.max_mnt_namespaces=10000"},
	{"user/max_time_namespaces", "0", "user.max_time_namespaces=10000"},
	{"kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"},
	{"kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile that allows userns"},
}

// enableNamespace knows who may forbid namespaces.
func enableNamespace(err error) string {
	var step *mountError
	if errors.As(err, &step) {
		return "a /proc without masked parts (in a container: --security-opt systempaths=unconfined)"
	}
	for _, l := range namespaceLimits {
		if sysctl(l.name) == l.forbid {
			return "sysctl " + l.allow
		}
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return "a kernel built with CONFIG_USER_NS, CONFIG_PID_NS and CONFIG_TIME_NS"
	}
	return "a security policy (seccomp, LSM) that does not forbid namespaces, or root"
}

func enableDir(error) string {
	return "a directory this user can write to, named with --dir or $SUPERVISE_DIR"
}

func enableDirectIO(error) string { return "a file system with O_DIRECT, such as ext4, xfs or btrfs" }

func enableUnconfined(error) string {
	return "to run supervise outside of what confines it (container, service with NoNewPrivileges or a system call filter)"
}

// sysctl reads a value from /proc/sys, empty where there is none.
func sysctl(name string) string {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
