#!/bin/bash
# Installs supervise below a prefix: scripts/install.sh BINARY PREFIX [DESTDIR]
set -euo pipefail
binary=$1 prefix=$2 destdir=${3:-}
source=$(cd "$(dirname "$0")/.." && pwd)
to=$destdir$prefix
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

put() { install -D -m "$1" "$2" "$to/$3"; }

put 755 "$binary" bin/supervise

"$binary" man "$made/man"
for page in "$made"/man/*.1; do
	gzip -9n "$page"
	put 644 "$page.gz" "share/man/man1/$(basename "$page").gz"
done

for shell in bash zsh fish; do "$binary" completion $shell >"$made/$shell"; done
put 644 "$made/bash" share/bash-completion/completions/supervise
put 644 "$made/fish" share/fish/vendor_completions.d/supervise.fish
# Where zsh looks by itself: administrators' files below /usr/local, packages' below /usr.
case $prefix in
/usr) put 644 "$made/zsh" share/zsh/vendor-completions/_supervise ;;
*) put 644 "$made/zsh" share/zsh/site-functions/_supervise ;;
esac

for unit in "$source"/scripts/*.service "$source"/scripts/*.timer; do
	put 644 "$unit" "lib/systemd/system/$(basename "$unit")"
	put 644 "$unit" "lib/systemd/user/$(basename "$unit")"
done
# Where Debian's python3 looks by itself; elsewhere it is for PYTHONPATH.
case $prefix in
/usr) python=lib/python3/dist-packages ;;
*) python=share/supervise/python ;;
esac
for module in "$source"/plugins/python/supervise/*.py "$source"/plugins/python/supervise/py.typed; do
	put 644 "$module" "$python/supervise/$(basename "$module")"
done
put 644 "$source/plugins/include/supervise.h" include/supervise.h
put 644 "$source/plugins/python/README.md" share/doc/supervise/python.md

put 644 "$source/scripts/crontab.example" share/doc/supervise/examples/crontab
for document in "$source/README.md" "$source"/docs/*.md; do
	put 644 "$document" "share/doc/supervise/$(basename "$document")"
done
