#!/usr/bin/env bash
# make test: proves everything that hydrant promises. Each step runs, whatever became of the one before; the last line is
# "N passed, N failed" and the exit code is 1 when anything failed.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
PATH=$PWD/.cache/bin:$PATH
counts=$(mktemp)
trap 'rm -f "$counts"' EXIT
export GORACE=halt_on_error=1

say() { printf '\n== %s\n' "$*"; }

# check NAME COMMAND…: one check that prints nothing when all is well.
check() {
	say "$1"
	local out
	if out=$("${@:2}" 2>&1) && [ -z "$out" ]; then
		echo "1 0" >>"$counts"
	else
		printf '%s\nFAIL %s\n' "$out" "$1"
		echo "0 1" >>"$counts"
	fi
}

# tests NAME ARGUMENT…: go test with these arguments.
tests() {
	say "$1"
	go test -json "${@:2}" | scripts/report.py "$counts" || true
}

check "gofmt" gofmt -l $(git ls-files '*.go')
check "go vet" go vet ./...
check "go vet -tags sabotage" go vet -tags sabotage ./...
check "staticcheck" staticcheck ./...
check "shell scripts parse" bash -n scripts/*.sh quickstart/*.sh .ci/run

alone='/(sim|proctest|bench)$' # these get steps of their own
tests "unit tests, architecture and fuzz seeds, with the race detector" -race $(go list ./... | grep -Ev "$alone")

awk '{ passed += $1; failed += $2 } END { printf "\n%d passed, %d failed\n", passed, failed; exit failed > 0 }' "$counts"
