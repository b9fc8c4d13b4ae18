#!/usr/bin/env bash
# need.sh TOOL…: fails with one line for the first tool that is missing, and says the remedy. As root on a system with
# apt-get it installs what Debian has.
set -euo pipefail

remedy() {
	case $1 in
	go) echo "install Go 1.26 or newer (go.dev/dl) and put its bin folder into PATH" ;;
	cc) echo "install a C compiler, which go test -race links with (apt-get install gcc libc6-dev)" ;;
	python3) echo "install Python 3.9 or newer, which runs the second reader of buffer/FORMAT.md (apt-get install python3)" ;;
	strace) echo "install strace, which shows the system calls of the daemon (apt-get install strace)" ;;
	*) echo "install it and put it into PATH" ;;
	esac
}

package() {
	case $1 in
	cc) echo gcc libc6-dev ;;
	python3 | strace) echo "$1" ;;
	esac
}

for tool; do
	command -v "$tool" >/dev/null && continue
	pkgs=$(package "$tool")
	if [ -n "$pkgs" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		# shellcheck disable=SC2086
		{ apt-get install -y --no-install-recommends $pkgs || { apt-get update && apt-get install -y --no-install-recommends $pkgs; }; } >/dev/null 2>&1 || true
		hash -r
		command -v "$tool" >/dev/null && continue
	fi
	echo "$tool is missing: $(remedy "$tool")" >&2
	exit 1
done
