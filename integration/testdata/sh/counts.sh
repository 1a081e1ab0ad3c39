#!/bin/bash
# Counts until it may go, as anybody can see in a file.
go=$1 log=$2 count=$3
exec >/dev/null 2>&1 # bash moves them about for every echo into a file
n=0
echo $n >"$count"
echo ready >>"$log"
until [ -e "$go" ]; do
	n=$((n + 1))
	echo $n >"$count.new" && mv "$count.new" "$count"
	sleep 0.02
done
echo ok >>"$log"
