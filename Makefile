# make run    builds hydrant and delivers a file of log lines into gzip objects under ./out
# make test   proves the promise: everything, nothing skipped
# make sim    SECONDS=600: the simulation for longer, from a new seed
# make bench  what the parts cost, as ratios to the bare operation, and a backlog of 20 GB
# make fmt    formats the source      make clean  removes what the other targets made

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
SECONDS ?= 60

.PHONY: build run test sim bench fmt clean

build:
	@scripts/need.sh go
	CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -X main.stamped=$$(git describe --tags --always --dirty 2>/dev/null)" -o bin/hydrant ./cmd/hydrant

run: build
	@quickstart/run.sh

test:
	@scripts/test.sh

sim:
	@scripts/need.sh go
	@scripts/sim.sh '$(SECONDS)'

bench:
	@scripts/need.sh go
	@scripts/bench.sh

fmt:
	@scripts/need.sh go
	gofmt -w $$(git ls-files '*.go')

clean:
	rm -rf bin out .cache/quickstart .cache/test
