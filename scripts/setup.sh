#!/usr/bin/env bash
# Brings what make test needs besides Go itself: tools from the system, and those of tools/go.mod into .cache/bin.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/need.sh go cc python3 strace

# The tools are built again only when their versions change.
want=$(go version; cat tools/go.mod tools/go.sum)
stamp=.cache/bin/built-from
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$want" ]; then
	echo "building the tools of tools/go.mod into .cache/bin (a few minutes, once)"
	mkdir -p .cache/bin
	GOBIN=$PWD/.cache/bin CGO_ENABLED=0 go -C tools install tool ||
		{ echo "the tools of tools/go.mod do not build: check that the Go module proxy can be reached (go env GOPROXY)" >&2; exit 1; }
	printf '%s\n' "$want" >"$stamp"
fi
