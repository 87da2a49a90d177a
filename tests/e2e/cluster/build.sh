#!/bin/sh
# Builds the programs of the test cluster from Go modules into a cache, each module's under the digest of its go.sum;
# prints the folder that has them all. Usage: build.sh [control-plane|helm|node]
# Cold: 10 to 20 minutes on 2 cores; afterwards at once. GOMAXPROCS (default 1) and GRAFT_E2E_NICE (default 19) say how
# much of the machine it takes: whoever works on it meanwhile comes first.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
level=${1:-control-plane}
cache=${GRAFT_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/graftwork-e2e}
bin=$cache/$(cat "$here"/*/go.mod "$here"/*/go.sum | sha256sum | cut -c1-12)/bin
mkdir -p "$bin"
processes=${GOMAXPROCS:-1}
nice=${GRAFT_E2E_NICE:-19}

# The Kubernetes programs tell the version they are linked with; Helm asks for it.
versions="-X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1"
versions="$versions -X k8s.io/component-base/version.gitMinor=36"

compile() { # compile FOLDER PACKAGE TARGET: GOMAXPROCS packages at once
  echo "building $(basename "$3")" >&2
  (cd "$1" && CGO_ENABLED=0 GOMAXPROCS=$processes nice -n "$nice" go build -p "$processes" -trimpath \
    -ldflags "-s -w $versions" -o "$3.tmp" "$2") >&2
  mv "$3.tmp" "$3"
}

build() { # build MODULE PACKAGE NAME
  [ -x "$bin/$3" ] && return
  kept=$cache/$1-$(cat "$here/$1"/go.* | sha256sum | cut -c1-12)
  mkdir -p "$kept"
  [ -x "$kept/$3" ] || compile "$here/$1" "$2" "$kept/$3"
  ln -sf "$kept/$3" "$bin/$3"
}

build etcd go.etcd.io/etcd/server/v3 etcd
build kubernetes k8s.io/kubernetes/cmd/kube-apiserver kube-apiserver
build kubernetes k8s.io/kubernetes/cmd/kubectl kubectl
build kubernetes k8s.io/kubernetes/cmd/kube-controller-manager kube-controller-manager
build kubernetes k8s.io/kubernetes/cmd/kube-scheduler kube-scheduler
# KubeRay's operator is built from a checkout of its repository at v1.7.0, named by KUBERAY_SOURCE: not every module
# proxy has it. Without one, tests that need it are skipped.
if [ -n "${KUBERAY_SOURCE:-}" ] && [ ! -x "$bin/ray-operator" ]; then
  module=$KUBERAY_SOURCE/ray-operator
  [ -e "$module/go.mod" ] || module=$KUBERAY_SOURCE
  package=.
  [ -e "$module/main.go" ] || package=./ray-operator
  mkdir -p "$cache/kuberay-1.7.0"
  [ -x "$cache/kuberay-1.7.0/ray-operator" ] || compile "$module" "$package" "$cache/kuberay-1.7.0/ray-operator"
  ln -sf "$cache/kuberay-1.7.0/ray-operator" "$bin/ray-operator"
fi
[ "$level" = control-plane ] || build helm helm.sh/helm/v4/cmd/helm helm
if [ "$level" = node ]; then
  build kubernetes k8s.io/kubernetes/cmd/kubelet kubelet
  build kubernetes k8s.io/kubernetes/cmd/kube-proxy kube-proxy
  for program in containerd ctr containerd-shim-runc-v2; do
    build containerd "github.com/containerd/containerd/v2/cmd/$program" $program
  done
  for plugin in main/bridge main/loopback ipam/host-local; do
    build cni "github.com/containernetworking/plugins/plugins/$plugin" "$(basename $plugin)"
  done
  build coredns . coredns
  build pause . pause
fi
echo "$bin"
