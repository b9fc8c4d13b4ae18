#!/usr/bin/env bash
# The quickstart: a file of log lines goes through hydrant into gzip objects under ./out, and is shown.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p out
lines=out/app.log
quickstart/lines.sh 20000 >"$lines"
before=$(find out -name '*.gz' | wc -l)

echo "\$ bin/hydrant run --once -c quickstart/hydrant.yaml <$lines"
bin/hydrant run --once -c quickstart/hydrant.yaml <"$lines"

objects=$(find out -name '*.gz' | sort)
newest=$(find out -name '*.gz' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
count=$(echo "$objects" | wc -l)
[ "$count" -gt "$before" ] || { echo "nothing was delivered under ./out" >&2; exit 1; }

echo
echo "$(wc -l <"$lines") lines went in; ./out holds $count objects, $((count - before)) of them new:"
echo "$objects" | tail -n 5 | sed 's/^/  /'
echo
echo "\$ zcat $newest | head -n 3"
zcat "$newest" | awk 'NR <= 3'
