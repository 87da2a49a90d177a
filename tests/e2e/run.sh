#!/bin/sh
# The tests against a real Kubernetes API server. Arguments go to pytest; `-m "e2e and slow"` kills the operator at every
# point of its work instead (about 10 minutes).
# Without KUBECONFIG a control plane is brought up for them on this machine and taken down again (first time: about 10
# minutes to build it). KUBERAY_SOURCE (a checkout of KubeRay 1.7.0) and KUBERAY_CRDS (a folder of its CRDs) add KubeRay.
set -eu
cd "$(dirname "$0")/../.."
if [ -z "${KUBECONFIG:-}" ]; then
    started=$(bash tests/e2e/cluster/control-plane.sh up)
    eval "$started"
    trap 'bash tests/e2e/cluster/control-plane.sh down' EXIT
fi
.venv/bin/python -m pytest tests/e2e -m "e2e and not node and not slow" --kubeconfig "$KUBECONFIG" "$@"
