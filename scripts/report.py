#!/usr/bin/env python3
"""Reads `go test -json` and prints what a person wants to see: a line a package, what failing tests said, and the
lines of passing tests that begin with "SHOW ". Appends "passed failed" to the file given as the only argument."""
import collections
import json
import sys

output = collections.defaultdict(list)
broken = set()  # packages of which a test has failed
passed = failed = 0
for line in sys.stdin:
    try:
        event = json.loads(line)
    except ValueError:
        print(line, end="")
        continue
    package, test = event.get("Package", event.get("ImportPath", "")), event.get("Test", "")
    action = event["Action"]
    key = package, test
    if action in ("output", "build-output"):
        text = event["Output"]
        if test:
            output[key].append(text)
            at = text.find("SHOW ")
            if at >= 0:
                print("   ", test + ":", text[at + 5 :], end="", flush=True)
        elif not text.startswith(("PASS", "coverage:", "?   ")):
            print(text, end="", flush=True)
    elif action == "fail":
        print("".join(output.pop(key, [])), end="", flush=True)
        if test:
            failed += 1
            broken.add(package)
        elif package not in broken:  # it does not build, panicked, leaked a goroutine or ran out of time
            failed += 1
    elif action == "pass" and test:
        output.pop(key, None)
        passed += 1
    elif action == "skip" and test:
        print("FAIL", package, test, "was skipped: a test that cannot run must fail")
        failed += 1
with open(sys.argv[1], "a") as counts:
    print(passed, failed, file=counts)
