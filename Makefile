# make help   lists what there is to make

export CGO_ENABLED = 0

PREFIX  ?= /usr/local
DESTDIR ?=
FUZZTIME ?= 10s

# A user without a home of their own, such as nobody, keeps caches in the tree.
ifneq ($(shell test -n "$$HOME" && test -w "$$HOME" && echo yes),yes)
export HOME       := $(CURDIR)/.home
export GOCACHE    := $(CURDIR)/.cache/build
export GOMODCACHE := $(CURDIR)/.cache/mod
export GOFLAGS    += -modcacherw
endif

.PHONY: help build test check demo bench fuzz install deb clean

help:
	@echo "make build     bin/supervise"
	@echo "make demo      show it at work, in a few seconds"
	@echo "make test      everything CI runs: check, and all tests as root and as an ordinary user"
	@echo "make check     gofmt, vet, staticcheck, the rules of the code"
	@echo "make bench     the numbers: pause, snapshot, restart, overhead"
	@echo "make fuzz      every fuzz test for FUZZTIME=$(FUZZTIME)"
	@echo "make install   binary, man pages, completions, units; PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)"
	@echo "make deb       a Debian package, in bin"

build:
	@mkdir -p bin
	@go build -buildvcs=auto -trimpath -o bin/supervise ./cmd/supervise

demo: build
	@bin/supervise demo

test: build
	@scripts/test.sh

check:
	@scripts/check.sh

bench: build
	@scripts/bench.sh

fuzz:
	@scripts/fuzz.sh $(FUZZTIME)

install: build
	@scripts/install.sh bin/supervise "$(PREFIX)" "$(DESTDIR)"

deb:
	@scripts/deb.sh bin

clean:
	@rm -rf bin
