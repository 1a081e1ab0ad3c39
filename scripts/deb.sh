#!/bin/bash
# Builds a Debian package: scripts/deb.sh DIR puts it into DIR and prints its name.
# DEBFULLNAME and DEBEMAIL name the maintainer.
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
export CGO_ENABLED=0

arch=$(dpkg --print-architecture)
# The time of the commit, so that the same sources give the same package.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
maintainer="${DEBFULLNAME:-The supervise maintainers} <${DEBEMAIL:-supervise@localhost.localdomain}>"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree doc=$work/tree/usr/share/doc/supervise

go build -buildvcs=auto -trimpath -ldflags='-s -w' -o "$work/supervise" ./cmd/supervise
# v1.2.3 becomes 1.2.3; what comes before a release sorts before it.
version=$("$work/supervise" version | cut -d' ' -f2 | sed -e 's/^v//; s/^devel$/0.0.0-devel/; s/-/~/; s/-/./g')

umask 022
mkdir -p "$tree/DEBIAN"
scripts/install.sh "$work/supervise" /usr "$tree"
install -D -m 644 packaging/copyright "$doc/copyright"
install -D -m 644 packaging/lintian-overrides "$tree/usr/share/lintian/overrides/supervise"
{
	printf 'supervise (%s) unstable; urgency=medium\n\n' "$version"
	printf '  * See README.md.\n\n'
	printf ' -- %s  %s\n' "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$doc/changelog.gz"
size=$(du -k --apparent-size -s "$tree/usr" | cut -f1)
sed -e "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@SIZE@/$size/; s/@MAINTAINER@/$maintainer/" packaging/control.in >"$tree/DEBIAN/control"
(cd "$tree" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

deb=$dir/supervise_${version}_$arch.deb
dpkg-deb --root-owner-group -Zxz --build "$tree" "$deb" >/dev/null
echo "$deb"
