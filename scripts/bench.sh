#!/usr/bin/env bash
# make bench: what the parts cost, as ratios to the bare operation, and what a backlog of 20 GB costs.
set -euo pipefail
cd "$(dirname "$0")/.."

backlog=${BACKLOG:-20000000000} # bytes
echo "== the parts, each pair measured alternately, medians of 9 rounds"
go run ./bench
echo
echo "== a backlog of $((backlog / 1000000000)) GB, filled through the HTTP door, delivered as gzip objects"
HYDRANT_BACKLOG=$backlog CGO_ENABLED=0 go test -trimpath -count=1 -timeout=2h -json -run '^TestABacklogCostsDiskNotMemory$' ./proctest | scripts/report.py --logs /dev/null
