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


def main() -> int:
    sys.path.insert(0, HERE)
    modules = [name for name in sys.argv[1:] if name[0] != "-"] or sorted(
        os.path.basename(path)[:-3] for path in glob.glob(os.path.join(HERE, "test_*.py"))
    )
    print(f"Python {sys.version.split()[0]}: {', '.join(modules)}", flush=True)
    suite = unittest.defaultTestLoader.loadTestsFromNames(modules)
    result = unittest.TextTestRunner(verbosity=2 if "-v" in sys.argv else 1).run(suite)
    for test, reason in result.skipped:
        print(f"{test.id()} skipped: {reason}")
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    passed = result.testsRun - failed - len(result.skipped)
    good = not failed and passed > 0
    print(
        f"test result: {'ok' if good else 'FAILED'}. {passed} passed; {failed} failed; 0 ignored",
        flush=True,
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
