#!/bin/bash
# Checks the code without running it: format, vet, staticcheck, rules, generated text.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0

unformatted=$(git ls-files -co --exclude-standard '*.go' | while read -r f; do [ ! -f "$f" ] || gofmt -l "$f"; done)
if [ -n "$unformatted" ]; then
	echo "gofmt would change:" $unformatted >&2
	exit 1
fi
go vet ./...
go tool staticcheck ./...
go test -count=1 .
go test -count=1 -run TestReadme ./cmd/supervise
