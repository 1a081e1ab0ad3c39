#!/bin/bash
# Restarts an image under Debian's kernel in an emulated machine (needs apt, qemu-system-x86_64).
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2; exit}')
(cd "$work" && apt-get download "$package" && dpkg-deb -x ./*.deb .)
SUPERVISE_KERNEL=$(echo "$work"/boot/vmlinuz-*) go test -count=1 -run '^TestOtherKernel$|^TestLesserCPU$' -v ./integration
