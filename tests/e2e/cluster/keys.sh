#!/bin/bash
# keys.sh FOLDER SERVER ADDRESS: a certificate authority, and keys and kubeconfigs signed by it, for one test cluster whose
# API server listens at an address, as does its node, if it has one.
set -euo pipefail
mkdir -p "$1"
cd "$1"
server=$2
address=$3
umask 077

new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

if [ ! -e ca.crt ]; then
  new_key ca.key
  openssl req -x509 -new -key ca.key -subj /CN=graftwork-e2e -days 30 -out ca.crt \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
fi
if [ ! -e sa.pub ]; then
  openssl genrsa -out sa.key 2048 2>/dev/null
  openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
fi

certify() { # certify NAME SUBJECT [ALTERNATIVE NAMES]
  [ ! -e "$1.crt" ] || return 0
  new_key "$1.key"
  printf '%s\n' basicConstraints=CA:FALSE keyUsage=critical,digitalSignature \
    extendedKeyUsage=serverAuth,clientAuth ${3:+"subjectAltName=$3"} >"$1.ext"
  openssl req -new -key "$1.key" -subj "$2" |
    openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
}

kubeconfig() { # kubeconfig NAME
  cat >"$1.kubeconfig" <<EOF
apiVersion: v1
kind: Config
current-context: e2e
clusters: [{name: e2e, cluster: {server: "$server", certificate-authority-data: $(base64 -w0 ca.crt)}}]
contexts: [{name: e2e, context: {cluster: e2e, user: e2e}}]
users: [{name: e2e, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
EOF
}

certify apiserver /CN=kube-apiserver \
  "IP:127.0.0.1,IP:$address,IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
certify admin /O=system:masters/CN=admin
certify controller-manager /CN=system:kube-controller-manager
certify scheduler /CN=system:kube-scheduler
certify kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
certify proxy /CN=system:kube-proxy
certify kubelet /O=system:nodes/CN=system:node:node1 "IP:$address,DNS:node1"
for name in admin controller-manager scheduler proxy kubelet; do kubeconfig "$name"; done
