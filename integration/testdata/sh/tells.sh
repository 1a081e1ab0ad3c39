#!/bin/bash
# Tells over and over, in a file, what it sees of its host and of its environment.
go=$1 log=$2 said=$3
exec >/dev/null 2>&1
tell() {
	echo "$(uname -n) $(tr '\0' '\n' </proc/$$/environ | grep ^MARK=) $(grep -c ^Seccomp_filters:.[1-9] /proc/$$/status)" >"$said.new"
	mv "$said.new" "$said"
}
tell
echo ready >>"$log"
until [ -e "$go" ]; do
	tell
	sleep 0.02
done
echo ok >>"$log"
