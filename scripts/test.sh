#!/bin/sh
# Sets up .venv, then runs all linters and tests. Arguments go to pytest: sh scripts/test.sh tests/unit -k spec
set -eu
cd "$(dirname "$0")/.."
setup_options=""
. scripts/setup.sh

sh scripts/check.sh
.venv/bin/python -m pytest -n auto --maxprocesses 4 --no-loadscope-reorder "$@"
