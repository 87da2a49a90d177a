#!/bin/sh
# Sourced from the repository root by the other scripts: brings .venv up to date with uv.lock.
#
# setup_options: options for `uv sync`. Default: what it takes to train and serve, without removing anything.
# PYTHON: the interpreter to use. Default: the first of the supported ones on the PATH.
set -eu

setup_find_python() {
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "Python 3.11, 3.12 or 3.13 is needed. Install one, or name it: PYTHON=/path/to/python3.11 sh $0" >&2
    return 1
}

setup_python=$(setup_find_python)

# uv lives in an environment of its own, so that it can replace everything in .venv.
if ! .uv/bin/uv --version >/dev/null 2>&1; then
    echo "== install uv into .uv"
    rm -rf .uv
    if ! "$setup_python" -m venv .uv; then
        echo "The module venv does not work. On Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
    .uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.10,<1'
fi

echo "== install Graftwork into .venv (the first time takes minutes: TensorFlow, Ray and OpenVINO are large)"
# Bytecode is made once, here: where Python may not write it (PYTHONDONTWRITEBYTECODE, a read-only disk), every process
# would else compile TensorFlow, Keras and Ray anew, which takes longer than most of what it then does.
# shellcheck disable=SC2086 # the options are words
UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-300}" .uv/bin/uv sync --compile-bytecode \
    --frozen --python "$setup_python" --extra all ${setup_options---no-dev --inexact}
