#!/bin/bash
# Asks for a snapshot of itself, and says in which copy it goes on: three times
# in a row, each time in the next generation.
go=$1 log=$2 supervise=$3
say() { echo "$1" >>"$log"; }
fail() { say "FAIL $1"; exit 1; }
say ready
for n in 0 1 2; do
	"$supervise" request annotate "step=$n" >/dev/null || fail "annotate"
	answer=$("$supervise" request checkpoint "step $n" 2>&1) || fail "checkpoint $n: $answer"
	case $answer in
	resumed*)
		say "resumed $n"
		until [ -e "$go" ]; do sleep 0.05; done
		say ok
		exit 0
		;;
	restarted*) say "restarted $n" ;;
	*) fail "answer $answer" ;;
	esac
	[ "$("$supervise" request status | sed -n 's/^generation *//p')" = $((n + 1)) ] || fail "generation"
done
say ok
