#!/bin/sh
# The tests that need real pods. Arguments go to pytest.
# With KUBECONFIG they run there: a cluster with KubeRay 1.7, a default StorageClass and our images (`sh scripts/images.sh`;
# on kind: kind load docker-image graftwork-operator:0.1.0 graftwork-train:0.1.0 graftwork-serve:0.1.0
# graftwork-registry:0.1.0). Without, and as root, a cluster with a node is brought up on this machine, gets the images
# from docker, and is taken down again; KUBERAY_SOURCE (a checkout of KubeRay 1.7.0) adds KubeRay to it.
set -eu
cd "$(dirname "$0")/../.."
if [ -z "${KUBECONFIG:-}" ]; then
    trap 'bash tests/e2e/cluster/node.sh down' EXIT
    started=$(bash tests/e2e/cluster/node.sh up)
    eval "$started"
    version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' platform/graftwork/__init__.py)
    for name in operator train serve registry; do bash tests/e2e/cluster/node.sh load "graftwork-$name:$version"; done
fi
.venv/bin/python -m pytest tests/e2e -m node -s --kubeconfig "$KUBECONFIG" "$@"
