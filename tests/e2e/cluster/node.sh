#!/bin/bash
# node.sh up|down|load IMAGE...|sh COMMAND...: a cluster with one real node (containerd, kubelet, kube-proxy, CoreDNS) in
# network and mount namespaces of its own, for machines without docker or a container registry. Where there is kind, use
# that: everything here needs only a KUBECONFIG.
#
# `up` prints `export KUBECONFIG=...`; the API server is reached at 127.0.0.1:$GRAFT_E2E_DOOR (default 26443), everything
# else inside the namespaces only. `load` brings images from the local docker daemon into the node, or from `docker save`
# archives. `sh` runs a command inside. KUBERAY_SOURCE (a checkout of KubeRay 1.7.0) adds KubeRay.
# Needs root, and of Debian's packages: runc, nftables, conntrack, iproute2, socat, openssl.
# GRAFT_E2E_CPUS (default 8) is how many CPUs the node says it has, if the machine has fewer: pods that ask for whole ones
# then fit and share.
# GRAFT_E2E_RUN names the folder for state, keys and logs. Removed by `down`, with all that runs inside.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
run=${GRAFT_E2E_RUN:-${TMPDIR:-/tmp}/graftwork-e2e-node}
door=${GRAFT_E2E_DOOR:-26443}
cpus=${GRAFT_E2E_CPUS:-8}
address=10.123.0.1
cgroup=graftwork-e2e
controllers="cpu cpuacct cpuset memory pids devices blkio freezer systemd"
export GRAFT_E2E_RUN=$run GRAFT_E2E_BIND=$address

bin=$(sh "$here/build.sh" node)

inside() { # inside COMMAND...: in the node's namespaces
  nsenter -t "$(cat "$run/pid/namespaces")" -n -m env PATH="$bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root \
    KUBECONFIG="$run/pki/admin.kubeconfig" CONTAINERD_ADDRESS=/run/containerd/containerd.sock "$@"
}

runs() { [ -e "$run/pid/$1" ] && kill -0 "$(cat "$run/pid/$1")" 2>/dev/null; }

start() { # start NAME COMMAND...
  local name=$1
  shift
  if runs "$name"; then return; fi
  setsid nohup nice -n 5 "$@" >>"$run/log/$name.log" 2>&1 </dev/null &
  echo $! >"$run/pid/$name"
}

start_inside() { # start_inside NAME COMMAND...
  local name=$1
  shift
  start "$name" nsenter -t "$(cat "$run/pid/namespaces")" -n -m env PATH="$bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root "$@"
}

until_true() { # until_true WHAT COMMAND...: at most 2 minutes
  local what=$1 tries=0
  shift
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -le 240 ] || { echo "$what does not come up; see $run/log" >&2; exit 1; }
    sleep 0.5
  done
}

has_namespaces() { [ "$(readlink /proc/$$/ns/net)" != "$(readlink "/proc/$(cat "$run/pid/namespaces")/ns/net")" ]; }

make_namespaces() {
  if runs namespaces; then return; fi
  setsid nohup unshare --net --mount --propagation slave sleep infinity >/dev/null 2>&1 </dev/null &
  echo $! >"$run/pid/namespaces"
  until_true "the namespace" has_namespaces
  inside bash -ec "
    mount --make-rshared /
    ip link set lo up
    ip link add node type veth peer name nowhere
    ip addr add $address/24 dev node
    ip link set node up; ip link set nowhere up
    ip route add default via 10.123.0.254 dev node
    sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0
    [ ! -e /proc/sys/net/bridge ] || sysctl -qw net.bridge.bridge-nf-call-iptables=1
    mkdir -p /run/containerd /var/lib/cni /var/lib/kubelet
    mount -t tmpfs tmpfs /run/containerd
    mount --bind '$run/logs' /var/log
    mount --bind '$run/cni-state' /var/lib/cni
    mount --bind '$run/kubelet' /var/lib/kubelet
  "
}

# The kubelet of this version still runs on cgroup v1 when told to; its root must then exist in every hierarchy.
make_cgroups() {
  local controller
  [ -d /sys/fs/cgroup/memory ] || { mkdir -p "/sys/fs/cgroup/$cgroup"; return; }
  for controller in $controllers; do mkdir -p "/sys/fs/cgroup/$controller/$cgroup"; done
  for file in cpuset.cpus cpuset.mems; do cat "/sys/fs/cgroup/cpuset/$file" >"/sys/fs/cgroup/cpuset/$cgroup/$file"; done
}

# The kubelet counts CPUs in /sys, memory node by memory node; start_kubelet puts this in its place, for the kubelet alone:
# the machine's CPUs again and again. No CPU appears that is not there, for cpusets are made from them.
count_cpus() {
  local last node cpu
  last=$((cpus / $(nproc) - 1))
  for node in $(seq 0 $last); do
    for cpu in $(seq 0 $(($(nproc) - 1))); do
      mkdir -p "$run/sys/node$node/cpu$cpu/topology"
      echo "$cpu" >"$run/sys/node$node/cpu$cpu/topology/core_id"
      echo "$node" >"$run/sys/node$node/cpu$cpu/topology/physical_package_id"
    done
    mkdir -p "$run/sys/node$node/hugepages"
    sed "s/Node 0/Node $node/" /sys/devices/system/node/node0/meminfo >"$run/sys/node$node/meminfo"
    echo 10 >"$run/sys/node$node/distance"
  done
}

start_kubelet() {
  local kubelet=("$bin/kubelet" --config="$run/kubelet.yaml" --kubeconfig="$run/pki/kubelet.kubeconfig"
    --hostname-override=node1 --node-ip="$address" --root-dir=/var/lib/kubelet)
  if [ "$cpus" -le "$(nproc)" ]; then start_inside kubelet "${kubelet[@]}"; return; fi
  count_cpus
  start_inside kubelet unshare --mount --propagation unchanged bash -ec "
    mount --make-rprivate /sys
    mount --bind '$run/sys' /sys/devices/system/node
    exec \"\$@\"" kubelet "${kubelet[@]}"
}

write_settings() {
  cat >"$run/cni/10-bridge.conflist" <<END
{"cniVersion": "1.0.0", "name": "e2e", "plugins": [
  {"type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "loopback"}]}
END
  # restrict_oom_score_adj: without CAP_SYS_RESOURCE runc may not make its containers harder to kill.
  cat >"$run/containerd.toml" <<END
version = 3
root = '$run/containerd'
state = '/run/containerd'
disabled_plugins = ['io.containerd.internal.v1.opt', 'io.containerd.nri.v1.nri', 'io.containerd.snapshotter.v1.btrfs',
  'io.containerd.snapshotter.v1.zfs', 'io.containerd.snapshotter.v1.devmapper', 'io.containerd.snapshotter.v1.erofs']
[grpc]
  address = '/run/containerd/containerd.sock'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = 'e2e.local/pause:1'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['$bin']
    conf_dir = '$run/cni'
[plugins.'io.containerd.grpc.v1.cri']
  stream_server_address = '127.0.0.1'
END
  echo "nameserver 127.0.0.1" >"$run/resolv.conf"
  cat >"$run/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $address
healthzBindAddress: 127.0.0.1
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
failSwapOn: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $run/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $run/pki/kubelet.crt
tlsPrivateKeyFile: $run/pki/kubelet.key
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
resolvConf: $run/resolv.conf
makeIPTablesUtilChains: false
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
END
  cat >"$run/proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
bindAddress: $address
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clientConnection: {kubeconfig: $run/pki/proxy.kubeconfig}
mode: nftables
clusterCIDR: 10.244.0.0/16
hostnameOverride: node1
conntrack: {maxPerCore: 0}
END
}

import_own_images() {
  python3 "$here/archive.py" e2e.local/pause:1 "$bin/pause" | inside ctr -n k8s.io images import - >&2
  python3 "$here/archive.py" e2e.local/coredns:1 "$bin/coredns" | inside ctr -n k8s.io images import - >&2
  [ ! -x "$bin/ray-operator" ] ||
    python3 "$here/archive.py" e2e.local/kuberay-operator:v1.7.0 "$bin/ray-operator=/manager" |
    inside ctr -n k8s.io images import - >&2
}

up() {
  mkdir -p "$run"/{log,pid,logs,cni,cni-state,kubelet,containerd,volumes/{1,2,3}}
  chmod 777 "$run"/volumes/*
  make_namespaces
  make_cgroups
  write_settings
  start_inside containerd "$bin/containerd" -c "$run/containerd.toml"
  inside env GRAFT_E2E_RUN="$run" GRAFT_E2E_BIND=$address GRAFT_E2E_CACHE="${GRAFT_E2E_CACHE:-}" \
    XDG_CACHE_HOME="${XDG_CACHE_HOME:-$HOME/.cache}" bash "$here/control-plane.sh" up >/dev/null
  until_true containerd inside ctr version
  import_own_images
  start_kubelet
  start_inside kube-proxy "$bin/kube-proxy" --config="$run/proxy.yaml"
  # A door on loopback to the API server, through a socket in the file system, which both sides see.
  start_inside door-in socat "UNIX-LISTEN:$run/api.sock,fork,unlink-early" "TCP:$address:16443"
  start door-out socat "TCP-LISTEN:$door,bind=127.0.0.1,fork,reuseaddr" "UNIX-CONNECT:$run/api.sock"
  sed "s#https://$address:16443#https://127.0.0.1:$door#" "$run/pki/admin.kubeconfig" >"$run/kubeconfig"
  chmod 600 "$run/kubeconfig"
  until_true "the door to the API server" "$bin/kubectl" --kubeconfig "$run/kubeconfig" get node node1
  sed "s#VOLUMES#$run/volumes#" "$here/node.yaml" | "$bin/kubectl" --kubeconfig "$run/kubeconfig" apply -f - >&2
  if [ -x "$bin/ray-operator" ]; then
    "$bin/helm" --kubeconfig "$run/kubeconfig" upgrade --install kuberay "$KUBERAY_SOURCE/helm-chart/kuberay-operator" \
      --namespace kuberay --create-namespace --set image.repository=e2e.local/kuberay-operator,image.tag=v1.7.0 >&2
  fi
  echo "export KUBECONFIG=$run/kubeconfig PATH=$bin:\$PATH"
}

load() {
  local image
  for image; do
    if [ -f "$image" ]; then inside ctr -n k8s.io images import "$image" >&2
    else docker save "$image" | inside ctr -n k8s.io images import - >&2; fi
  done
}

end() { # end NAME: and wait for it
  local pid
  [ -e "$run/pid/$1" ] || return 0
  pid=$(cat "$run/pid/$1")
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 40); do kill -0 "$pid" 2>/dev/null || break; sleep 0.25; done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$run/pid/$1"
}

down() {
  local container shim home controller
  end kubelet; end kube-proxy; end door-in; end door-out
  if runs namespaces && runs containerd; then
    for container in $(inside ctr -n k8s.io task ls -q 2>/dev/null); do
      inside ctr -n k8s.io task kill -s 9 "$container" >/dev/null 2>&1 || true
    done
    sleep 1
    for container in $(inside ctr -n k8s.io task ls -q 2>/dev/null); do
      inside ctr -n k8s.io task rm -f "$container" >/dev/null 2>&1 || true
    done
  fi
  for name in kube-scheduler kube-controller-manager kube-apiserver etcd containerd; do end $name; done
  if runs namespaces; then
    # What containerd left behind carries our mount namespace; nothing else does.
    home=$(readlink "/proc/$(cat "$run/pid/namespaces")/ns/mnt")
    for shim in /proc/[0-9]*; do
      [ "$(readlink "$shim/ns/mnt" 2>/dev/null)" != "$home" ] || kill -9 "${shim#/proc/}" 2>/dev/null || true
    done
  fi
  end namespaces
  for controller in $controllers unified; do
    find "/sys/fs/cgroup/$controller/$cgroup" -depth -type d -exec rmdir {} \; 2>/dev/null || true
  done
  [ -n "${GRAFT_E2E_KEEP:-}" ] || rm -rf "$run"
}

case ${1:-} in
up) up ;;
down) down ;;
load) shift; load "$@" ;;
sh) shift; inside "$@" ;;
*) echo "usage: $0 up|down|load IMAGE...|sh COMMAND..." >&2; exit 2 ;;
esac
