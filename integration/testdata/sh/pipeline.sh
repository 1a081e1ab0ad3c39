#!/bin/bash
# A pipeline of shells and filters, with traps, variables and arrays.
go=$1 log=$2
say() { echo "$1" >>"$log"; }
fail() { say "FAIL $1"; exit 1; }
declare -A table=([one]=1 [two]=2)
signals=0
trap 'signals=$((signals + 1))' USR1
me=$$
{
	n=0
	until [ -e "$go" ]; do
		n=$((n + 1))
		echo "line $n"
		sleep 0.03
	done
	echo "end $n"
} | sed -u 's/line/LINE/' | {
	want=0
	while read -r word n; do
		[ "$word" = end ] && break
		want=$((want + 1))
		[ "$word $n" = "LINE $want" ] || fail "read $word $n, want LINE $want"
	done
	[ "$n" = "$want" ] || fail "$want lines came, $n were sent"
	exit 17
} &
pipe=$!
say ready
wait $pipe
status=$?
[ $status = 17 ] || fail "the pipeline gave $status"
[ ${table[one]}${table[two]} = 12 ] || fail "table"
[ $$ = $me ] || fail "pid $$"
kill -USR1 $$
kill -USR1 $$
[ $signals = 2 ] || fail "$signals signals"
[ "$(echo a b | tr ab xy)" = "x y" ] || fail "substitution"
trap 'say ok' EXIT
exit 0
