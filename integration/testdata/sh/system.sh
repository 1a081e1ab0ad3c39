#!/bin/bash
# system.sh PACKAGE DIR: installs a package into this system, uses it and removes
# it, in a mount namespace in which what is changed lies in DIR.
set -e
deb=$1 dir=$2
mount -t tmpfs none "$dir"
for d in usr etc var; do
	mkdir -p "$dir/$d/upper" "$dir/$d/work"
	mount -t overlay overlay -o "lowerdir=/$d,upperdir=$dir/$d/upper,workdir=$dir/$d/work" "/$d"
done
dpkg -i "$deb"
dpkg --verify supervise
/usr/bin/supervise check >/dev/null
supervise demo
dpkg -P supervise
left=$(find "$dir" -path '*/upper/*' -name '*supervise*' ! -type c ! -path '*/log/*')
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
