#!/bin/bash
# Runs every fuzz test for a while: scripts/fuzz.sh 10s
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0

for package in $(go list ./...); do
	for test in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "$package $test"
		go test -run '^$' -fuzz "^$test\$" -fuzztime "${1:-10s}" "$package"
	done
done
