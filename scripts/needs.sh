#!/bin/bash
# Sees to it that what tests take snapshots of is installed (integration/packages.txt).
set -euo pipefail
cd "$(dirname "$0")/.."

command -v dpkg-query >/dev/null || exit 0 # not Debian: tests tell what they miss
missing=()
while read -r package; do
	case $package in '' | '#'*) continue ;; esac
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done <integration/packages.txt
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "supervise: tests need packages that are not installed; as root: apt-get install ${missing[*]}" >&2
	exit 1
fi
echo "installing for the tests: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
