#!/bin/bash
# Works as long as it has a lease: a file with the generation that it was made for.
go=$1 log=$2 supervise=$3 lease=$4
fail() { echo "FAIL $1" >>"$log"; exit 1; }
generation() { "$supervise" request status | sed -n 's/^generation *//p'; }
echo ready >>"$log"
until [ -e "$go" ]; do sleep 0.05; done
n=$(generation)
# A moment may pass until the hook has been run.
for _ in $(seq 100); do
	[ "$(cat "$lease")" = "lease $n" ] && echo ok >>"$log" && exit 0
	sleep 0.1
done
fail "the lease is '$(cat "$lease")', in generation $n"
