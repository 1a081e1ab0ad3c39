#!/bin/bash
# Runs everything that CI runs: the checks, then all tests.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0

scripts/needs.sh
scripts/check.sh
# One package after the other: tests of the pause and of signals do not take
# well to a neighbour that takes the whole machine.
go test -count=1 -timeout 60m -p 1 ./...
