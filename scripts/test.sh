#!/bin/sh
# Sets up .venv, then runs all linters and tests. Arguments go to pytest: sh scripts/test.sh tests/unit -k spec
# A process of the tests that is lost ends the run and names the test: started anew, it would wait for ever for the rest.
set -eu
cd "$(dirname "$0")/.."
setup_options=""
. scripts/setup.sh

sh scripts/check.sh
.venv/bin/python -m pytest -n auto --maxprocesses 4 --max-worker-restart 0 --no-loadscope-reorder "$@"
