#!/bin/sh
# The main job, from nothing: set up, fine-tune on two Ray workers, test, pack, register, serve, predict.
set -eu
cd "$(dirname "$0")/.."
. scripts/setup.sh

graft() { .venv/bin/graft "$@"; }

echo "== fine-tune EfficientNet-Lite0 on emoji pictures: jobs/specs/emoji10.yaml"
graft run jobs/specs/emoji10.yaml

echo "== serve it: serving/specs/emoji10.yaml"
trap 'graft endpoints stop emoji10 >/dev/null 2>&1 || true' EXIT INT TERM
graft serve --detach serving/specs/emoji10.yaml

echo "== classify a picture over HTTP"
picture=$(find examples/emoji10/twitter-test/animal -name '*.png' | sort | head -n 1)
graft predict emoji10 "$picture"
echo "to serve it again, and to ask it with curl:"
echo "  .venv/bin/graft serve --detach serving/specs/emoji10.yaml"
echo "  curl --data-binary @$picture http://127.0.0.1:8000/v1/endpoints/emoji10/predict"
