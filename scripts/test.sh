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

# tests NAME ARGUMENT…: go test with these arguments. logs NAME ARGUMENT…: the same, and what the tests log is shown.
tests() { counted "" "$@"; }
logs() { counted --logs "$@"; }
counted() {
	say "$2"
	local before
	before=$(wc -l <"$counts")
	go test -count=1 -json "${@:3}" | scripts/report.py $1 "$counts" || true
	[ "$(wc -l <"$counts")" -gt "$before" ] || echo "0 1" >>"$counts" # the report itself broke
}

check "gofmt" gofmt -l $(git ls-files '*.go')
check "go vet" go vet ./...
check "go vet -tags sabotage" go vet -tags sabotage ./...
check "staticcheck" staticcheck ./...
check "shell scripts parse" bash -n scripts/*.sh quickstart/*.sh .ci/run

alone='/(sim|proctest|bench)$' # these get steps of their own
tests "unit tests, architecture, contracts and fuzz seeds, with the race detector" -race -timeout=10m $(go list ./... | grep -Ev "$alone")
SIM_SEEDS=8 tests "a smaller simulation, with the race detector" -race -timeout=10m ./sim

# From here on without the race detector, as the binary is built: one build serves all.
export CGO_ENABLED=0
logs "the simulation" -trimpath -timeout=20m ./sim
logs "whole processes: crashes, system calls, clones, edits, full disks, a backlog" -trimpath -timeout=15m ./proctest
tests "the benchmarks run" -trimpath -timeout=5m ./bench

awk '{ passed += $1; failed += $2 } END { printf "\n%d passed, %d failed\n", passed, failed; exit failed > 0 }' "$counts"
