#!/usr/bin/env bash
# The quickstart: a file of log lines goes through hydrant into gzip objects under ./out, and is shown.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p out
lines=out/app.log
quickstart/lines.sh 20000 >"$lines"

echo "\$ bin/hydrant run --once -c quickstart/hydrant.yaml <$lines"
bin/hydrant run --once -c quickstart/hydrant.yaml <"$lines"

new=$(find out -name '*.gz' -newer "$lines" | sort)
[ -n "$new" ] || { echo "nothing was delivered under ./out" >&2; exit 1; }

echo
objects=$(find out -name '*.gz' | wc -l)
[ "$objects" = 1 ] && noun=object || noun=objects
echo "$(wc -l <"$lines") lines went in. New under ./out, which holds $objects $noun:"
while read -r object; do
	echo "  $object"
done <<<"$new"
echo
echo "\$ zcat ${new##*$'\n'} | head -n 3"
zcat "${new##*$'\n'}" | awk 'NR <= 3'
