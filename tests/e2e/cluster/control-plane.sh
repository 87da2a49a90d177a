#!/bin/bash
# control-plane.sh up|down: etcd, API server, controller manager and scheduler on 127.0.0.1, as the invoking user.
# `up` prints `export KUBECONFIG=...`; GRAFT_E2E_RUN names the folder for state, keys and logs (default: below /tmp).
# node.sh calls it inside the node's namespaces, with the address of the node as GRAFT_E2E_BIND.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
run=${GRAFT_E2E_RUN:-${TMPDIR:-/tmp}/graftwork-e2e-$(id -u)}
pki=$run/pki
port=${GRAFT_E2E_PORT:-16443}
bind=${GRAFT_E2E_BIND:-127.0.0.1}
etcd_port=$((port + 1))

start() { # start NAME COMMAND...
  local name=$1
  shift
  if [ -e "$run/pid/$name" ] && kill -0 "$(cat "$run/pid/$name")" 2>/dev/null; then return; fi
  setsid nohup nice -n 10 "$@" >>"$run/log/$name.log" 2>&1 </dev/null &
  echo $! >"$run/pid/$name"
}

wait_for() { # wait_for NAME COMMAND...: until the command succeeds, at most 3 minutes, or the program of that name died
  local name=$1 tries=0
  shift
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 360 ] || ! kill -0 "$(cat "$run/pid/$name")" 2>/dev/null; then
      echo "$name does not come up; the end of $run/log/$name.log:" >&2
      tail -5 "$run/log/$name.log" >&2
      exit 1
    fi
    sleep 0.5
  done
}

up() {
  local bin
  bin=$(sh "$here/build.sh" helm)
  mkdir -p "$run/log" "$run/pid" "$pki"
  chmod 700 "$run"
  bash "$here/keys.sh" "$pki" "https://$bind:$port" "$bind"
  # Without a node there is nobody who would reach the API server through its Service.
  local reached=(--endpoint-reconciler-type=none)
  [ "$bind" = 127.0.0.1 ] || reached=(--advertise-address="$bind" --allow-privileged=true)
  local kubectl=("$bin/kubectl" --kubeconfig "$pki/admin.kubeconfig")
  start etcd "$bin/etcd" --data-dir "$run/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
    --listen-peer-urls "http://127.0.0.1:$((etcd_port + 1))" \
    --initial-advertise-peer-urls "http://127.0.0.1:$((etcd_port + 1))" \
    --initial-cluster "default=http://127.0.0.1:$((etcd_port + 1))"
  start kube-apiserver "$bin/kube-apiserver" --etcd-servers="http://127.0.0.1:$etcd_port" \
    --bind-address="$bind" --secure-port="$port" "${reached[@]}" \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file="$pki/sa.pub" \
    --service-account-signing-key-file="$pki/sa.key" --authorization-mode=Node,RBAC \
    --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key" \
    --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
    --service-cluster-ip-range=10.96.0.0/16 --profiling=false
  wait_for kube-apiserver "${kubectl[@]}" get --raw /readyz
  start kube-controller-manager "$bin/kube-controller-manager" --kubeconfig="$pki/controller-manager.kubeconfig" \
    --bind-address=127.0.0.1 --secure-port=$((port + 3)) --use-service-account-credentials=true \
    --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" --leader-elect=false --profiling=false
  start kube-scheduler "$bin/kube-scheduler" --kubeconfig="$pki/scheduler.kubeconfig" \
    --bind-address=127.0.0.1 --secure-port=$((port + 4)) --leader-elect=false --profiling=false
  wait_for kube-controller-manager "${kubectl[@]}" get serviceaccount default -n default
  [ -z "${KUBERAY_CRDS:-}" ] || "${kubectl[@]}" apply --server-side -f "$KUBERAY_CRDS" >&2
  echo "export KUBECONFIG=$pki/admin.kubeconfig PATH=$bin:\$PATH"
}

down() {
  local name pid file
  for name in kube-scheduler kube-controller-manager kube-apiserver etcd; do
    file=$run/pid/$name
    [ -e "$file" ] || continue
    pid=$(cat "$file")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 60); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.25
    done
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$file"
  done
  rm -rf "$run"
}

case ${1:-} in
up) up ;;
down) down ;;
*) echo "usage: $0 up|down" >&2; exit 2 ;;
esac
