#!/usr/bin/env bash
# sim.sh SECONDS: plays the simulation for so long, from a seed that nobody has played.
set -euo pipefail
cd "$(dirname "$0")/.."
SIM_SECONDS=${1:?usage: sim.sh SECONDS} CGO_ENABLED=0 go test -trimpath -count=1 -timeout=0 -json -run '^TestSim$' ./sim | scripts/report.py --logs /dev/null
