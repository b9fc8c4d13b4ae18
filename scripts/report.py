#!/usr/bin/env python3
"""Reads `go test -json` and prints what a person wants to see: a line a package and all that failing tests said; after
--logs what passing tests logged, too. Appends "passed failed" to the file that is the last argument."""
import collections
import json
import sys

logs = "--logs" in sys.argv
output = collections.defaultdict(list)
broken = set()  # packages of which a test has failed
passed = failed = 0
for line in sys.stdin:
    try:
        event = json.loads(line)
    except ValueError:
        print(line, end="", flush=True)
        continue
    package, test = event.get("Package", event.get("ImportPath", "")), event.get("Test", "")
    action, text = event["Action"], event.get("Output", "")
    if action in ("output", "build-output"):
        if test:
            output[package, test].append(text)
            if logs and not text.lstrip().startswith(("=== ", "--- ")):
                print("   ", text.strip("\n"), flush=True)
        elif not text.startswith(("PASS", "FAIL\n", "coverage:", "?   ")):
            print(text, end="", flush=True)
    elif action == "fail":
        print("".join(output.pop((package, test), [])), end="", flush=True)
        if test:
            failed += 1
            broken.add(package)
        elif package not in broken:  # it does not build, panicked, leaked a goroutine or ran out of time
            for key in [k for k in output if k[0] == package]:
                print("".join(output.pop(key)), end="", flush=True)
            failed += 1
    elif action == "pass" and test:
        output.pop((package, test), None)
        passed += 1
    elif action == "skip" and test:
        print("FAIL", package, test, "was skipped: a test that cannot run must fail")
        failed += 1
with open(sys.argv[-1], "a") as counts:
    print(passed, failed, file=counts)
