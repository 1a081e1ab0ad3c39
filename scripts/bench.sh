#!/bin/bash
# Prints the numbers: longest stop, snapshot, restart, memory, overhead.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0

exec go test -run '^$' -bench . -benchtime 3x -timeout 60m ./integration
