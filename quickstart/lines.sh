#!/usr/bin/env bash
# lines.sh N: N log lines, one JSON object each, the same ones every time.
set -euo pipefail
awk -v n="${1:?usage: lines.sh N}" 'BEGIN {
	split("GET GET GET POST DELETE", method); split("/ /cart /login /search /items", path); split("200 200 200 304 404 500", status)
	for (i = 1; i <= n; i++)
		printf "{\"line\":%d,\"at\":\"2026-01-01T%02d:%02d:%02dZ\",\"method\":\"%s\",\"path\":\"%s\",\"status\":%s,\"ms\":%d}\n",
			i, i / 3600 % 24, i / 60 % 60, i % 60, method[i % 5 + 1], path[i * 7 % 5 + 1], status[i * 11 % 6 + 1], i * 7919 % 250
}'
