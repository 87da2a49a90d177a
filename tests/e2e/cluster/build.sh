#!/bin/sh
# Builds the programs of the test cluster from Go modules into a cache keyed by their go.sum; prints the folder.
# Usage: build.sh [control-plane|helm|node]    Cold: about 10 minutes on 2 cores; afterwards at once.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
level=${1:-control-plane}
key=$(cat "$here"/*/go.mod "$here"/*/go.sum | sha256sum | cut -c1-12)
cache=${GRAFT_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/graftwork-e2e}
bin=$cache/$key/bin
mkdir -p "$bin"

# The Kubernetes programs tell the version they are linked with; Helm asks for it.
versions="-X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1"
versions="$versions -X k8s.io/component-base/version.gitMinor=36"

build() { # build MODULE PACKAGE NAME [TAGS]
  [ -x "$bin/$3" ] && return
  echo "building $3" >&2
  # -p 1 and nice: whoever works on this machine meanwhile comes first.
  (cd "$here/$1" && CGO_ENABLED=0 GOMAXPROCS=${GOMAXPROCS:-1} nice -n 19 go build -p 1 -trimpath -tags "${4:-}" \
    -ldflags "-s -w $versions" -o "$bin/$3.tmp" "$2") >&2
  mv "$bin/$3.tmp" "$bin/$3"
}

build etcd go.etcd.io/etcd/server/v3 etcd
build kubernetes k8s.io/kubernetes/cmd/kube-apiserver kube-apiserver
build kubernetes k8s.io/kubernetes/cmd/kubectl kubectl
build kubernetes k8s.io/kubernetes/cmd/kube-controller-manager kube-controller-manager
build kubernetes k8s.io/kubernetes/cmd/kube-scheduler kube-scheduler
# KubeRay's operator is built from a checkout of its repository at v1.7.0, named by KUBERAY_SOURCE: not every module
# proxy has it. Without one, tests that need it are skipped.
if [ -n "${KUBERAY_SOURCE:-}" ] && [ ! -x "$bin/ray-operator" ]; then
  echo "building ray-operator" >&2
  module=$KUBERAY_SOURCE
  [ -e "$module/go.mod" ] || module=$KUBERAY_SOURCE/ray-operator
  package=.
  [ -e "$module/main.go" ] || package=./ray-operator
  (cd "$module" && CGO_ENABLED=0 GOMAXPROCS=${GOMAXPROCS:-1} nice -n 19 go build -p 1 -trimpath -ldflags "-s -w" \
    -o "$bin/ray-operator.tmp" "$package") >&2
  mv "$bin/ray-operator.tmp" "$bin/ray-operator"
fi
[ "$level" = control-plane ] || build helm helm.sh/helm/v4/cmd/helm helm
if [ "$level" = node ]; then
  build kubernetes k8s.io/kubernetes/cmd/kubelet kubelet
  build kubernetes k8s.io/kubernetes/cmd/kube-proxy kube-proxy
fi
echo "$bin"
