# SPDX-License-Identifier: GPL-2.0-only
"""Tests that mostly wait run side by side: each test method in a process of its own, some at a time.

    if __name__ == "__main__":
        side_by_side.main()

With arguments it is unittest.main(), which is also how each of them is run. What unittest would have
said of all of them comes at the end, after the output of each.
"""

import concurrent.futures
import os
import re
import subprocess
import sys
import time
import unittest

from box import SEED

AT_A_TIME = 5
SKIPPED = re.compile(r"^OK \(skipped=", re.M)


def names_of(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from names_of(test)
        else:
            yield ".".join(test.id().split(".")[-2:])


def run(name):
    """(name, exit status, output)"""
    done = subprocess.run([sys.executable, sys.argv[0], name], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
                          env={**os.environ, "XDP_CANARY_SEED": str(SEED)})
    return name, done.returncode, done.stdout


def indented(text):
    return "".join(f"    {line}\n" for line in text.splitlines())


def main(at_a_time=AT_A_TIME):
    if len(sys.argv) > 1:
        unittest.main()
    began = time.monotonic()
    names = list(names_of(unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])))
    print(f"seed {SEED}", flush=True)
    failed = skipped = 0
    with concurrent.futures.ThreadPoolExecutor(at_a_time) as pool:
        for future in concurrent.futures.as_completed([pool.submit(run, name) for name in names]):
            name, status, output = future.result()
            failed += status != 0
            skipped += bool(SKIPPED.search(output))
            print(f"{name}: {'FAILED' if status else 'ok'}\n{indented(output)}", flush=True)
    print(f"Ran {len(names)} tests in {time.monotonic() - began:.1f} s")
    words = [f"{word}={count}" for word, count in (("failures", failed), ("skipped", skipped)) if count]
    print(("FAILED" if failed else "OK") + (f" ({', '.join(words)})" if words else ""))
    sys.exit(bool(failed))
