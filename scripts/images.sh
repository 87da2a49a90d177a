#!/bin/sh
# Builds the images that a cluster runs, tagged with Graftwork's version, and prints their sizes.
# Usage: sh scripts/images.sh [operator|train-cpu|train-gpu|serve-cpu|serve-gpu|registry ...]
# Default: all but those for GPUs.
# Needs docker with BuildKit. Behind a proxy that looks into TLS: CA=/path/to/ca.crt sh scripts/images.sh
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- operator train-cpu serve-cpu registry
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' platform/graftwork/__init__.py)
for target; do
    image=graftwork-${target%-cpu}:$version
    echo "== $image"
    DOCKER_BUILDKIT=1 docker build --network=host ${CA:+--secret "id=ca,src=$CA"} --target "$target" --tag "$image" .
done
echo "== sizes"
for target; do
    image=graftwork-${target%-cpu}:$version
    docker image inspect --format "{{.Size}}" "$image" | awk -v image="$image" '{printf "%-28s %6.0f MB\n", image, $1 / 1e6}'
done
