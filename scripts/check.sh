#!/bin/sh
# All linters. Runs every one of them, and fails if any of them found something.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"

failed=""
check() {
    echo "== $*"
    "$@" || failed="$failed $1"
}

check ruff check .
check ruff format --check --quiet .
check lint-imports --no-cache
check mypy
check pyright

if [ -n "$failed" ]; then
    echo "found something:$failed" >&2
    exit 1
fi
echo "all linters pass"
