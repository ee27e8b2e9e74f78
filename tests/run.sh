#!/usr/bin/env bash
# Every check and test. Arguments are handed to pytest; with some, only pytest runs.
# As root, or with sudo that asks no password, the real parts are installed and started; otherwise the
# tests that need them say so and are skipped.
set -u
cd "$(dirname "$0")/.."
python=.venv/bin/python
failed=0

as_root=()
if [ "$(id -u)" != 0 ]; then
    if sudo -n true 2>/dev/null; then as_root=(sudo -n -E); else
        echo "Not root and no sudo without a password: only the single-user part runs."
        as_root=(none)
    fi
fi

if [ "${as_root[0]:-}" != none ]; then
    # The real parts: Debian packages, and the container image from its cache or built anew.
    "${as_root[@]}" "$python" -m tests.harness packages || exit 1
    "${as_root[@]}" "$python" -m tests.harness.images || exit 1
else
    as_root=()
fi

if [ $# = 0 ]; then
    .venv/bin/ruff check . || failed=1
    .venv/bin/lint-imports || failed=1
    # Types are checked beside the tests, and told of at the end.
    types=$(mktemp)
    trap 'rm -f "$types"' EXIT
    .venv/bin/mypy >"$types" 2>&1 &
    checking=$!
    # Level by level, since Chromium's driver and asynchronous tests can't share a process. Two files at a time, the
    # longest first (tests/conftest.py).
    for level in unit cluster browser; do
        "${as_root[@]}" "$python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "tests/$level" || failed=1
    done
    wait "$checking" || failed=1
    cat "$types"
else
    "${as_root[@]}" "$python" -m pytest "$@" || failed=1
fi
exit $failed
