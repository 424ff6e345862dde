#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# The wheel as its users get it: in a fresh virtual environment, and with no cargo on the path.
#
#   python/check.sh LIBNETFD.SO
set -euo pipefail
library=$(realpath "$1")
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH NETFD_LIBRARY
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1

python3 -m venv "$work/tools"
"$work/tools/bin/pip" install -q hatchling 'mypy==2.*' 'ruff==0.17.*'
"$work/tools/bin/ruff" check --no-cache -q .
"$work/tools/bin/ruff" format --no-cache -q --check .
"$work/tools/bin/mypy" --cache-dir "$work/mypy"
NETFD_LIBRARY=$library "$work/tools/bin/pip" wheel -q --no-deps --no-build-isolation -w "$work" .
wheel=$(echo "$work"/netfd-*.whl)
case $wheel in
*-py3-none-manylinux_2_[0-9]*_*.whl) echo "${wheel##*/}" ;;
*) echo "a wheel of another kind: $wheel" && exit 1 ;;
esac

python3 -m venv "$work/user"
export PATH=$work/user/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
if command -v cargo; then echo "cargo is on the path" && exit 1; fi
pip install -q "$wheel" hatchling redis
found=$(cd / && python -c 'import netfd; print(netfd.library)')
case $found in
"$work"/user/*) ;;
*) echo "not the wheel's library: $found" && exit 1 ;;
esac
python tests/run.py
if python -c 'import test.test_socket' 2>/dev/null; then
    python tests/cpython_suites.py
else
    echo "CPython's suites skipped: the test package of CPython is not installed"
fi
