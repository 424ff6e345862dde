# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs the tests beside it, and counts as cargo does: for .ci/counts.

python run.py [-v] [TEST_MODULE...]
"""

from __future__ import annotations

import glob
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


class Result(unittest.TextTestResult):
    """One that counts what passed: the others' sums differ between versions."""

    passed = 0

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.passed += 1


def main() -> int:
    sys.path.insert(0, HERE)
    modules = [name for name in sys.argv[1:] if name[0] != "-"] or sorted(
        os.path.basename(path)[:-3] for path in glob.glob(os.path.join(HERE, "test_*.py"))
    )
    print(f"Python {sys.version.split()[0]}: {', '.join(modules)}", flush=True)
    suite = unittest.defaultTestLoader.loadTestsFromNames(modules)
    runner = unittest.TextTestRunner(verbosity=2 if "-v" in sys.argv else 1, resultclass=Result)
    result = runner.run(suite)
    assert isinstance(result, Result)
    for test, reason in result.skipped:
        print(f"{test.id()} skipped: {reason}")
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    good = not failed and result.passed > 0
    word = "ok" if good else "FAILED"
    print(f"test result: {word}. {result.passed} passed; {failed} failed; 0 ignored", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
