#!/bin/bash
# What people do with Helm, held against a cluster with a node: bash scenario.sh HELM KUBECONFIG
#
# One release through its life: installed with its definition and a hook, changed, changed wrongly, rolled back, tested, removed.
set -euo pipefail
helm=$1
export KUBECONFIG=$2
chart=$(dirname "$0")/chart
home=$(mktemp -d "${TMPDIR:-/tmp}/ferry-helm.XXXXXX")
trap 'rm -rf "$home"' EXIT
export HELM_CACHE_HOME=$home HELM_CONFIG_HOME=$home HELM_DATA_HOME=$home HELM_NAMESPACE="helm-$$"
release=lamps

fail() {
    echo "FAILED  $*" >&2
    exit 1
}
# `expect WHAT WANTED COMMAND…`: its output holds the text.
expect() {
    local what=$1 wanted=$2 said
    shift 2
    said=$("$@" 2>&1) || fail "$what: $said"
    [[ $said == *"$wanted"* ]] || fail "$what: no $wanted in: $said"
    echo "ok      $what"
}
# `refuse WHAT WANTED COMMAND…`: it fails, and says so.
refuse() {
    local what=$1 wanted=$2 said
    shift 2
    ! said=$("$@" 2>&1) || fail "$what: it must fail: $said"
    [[ $said == *"$wanted"* ]] || fail "$what: no $wanted in: $said"
    echo "ok      $what"
}
wait=(--wait --timeout 90s)

expect "install" "STATUS: deployed" "$helm" install "$release" "$chart" --create-namespace "${wait[@]}"
expect "the server's kinds are known to templates" 'lamps: "true"' "$helm" upgrade "$release" "$chart" --dry-run=server
expect "lookup reads the cluster" "namespace: \"$HELM_NAMESPACE\"" "$helm" upgrade "$release" "$chart" --dry-run=server
refuse "a second release of the name" "cannot re-use a name" "$helm" install "$release" "$chart"
expect "upgrade" "REVISION: 2" "$helm" upgrade "$release" "$chart" --set greeting=servus --set replicas=3 "${wait[@]}"
refuse "what the definition forbids" "spec.watts" "$helm" upgrade "$release" "$chart" --set broken=true
expect "the failed revision is told" "failed" "$helm" history "$release"
expect "rollback" "Rollback was a success" "$helm" rollback "$release" 1 "${wait[@]}"
expect "the first values are back" "hello" "$helm" get manifest "$release"
expect "test: a pod asks the Service by its name" "Succeeded" "$helm" test "$release" --timeout 90s
expect "atomic: a failed upgrade is taken back" "rolled back" \
    bash -c '! "$@" 2>&1' -- "$helm" upgrade "$release" "$chart" --set broken=true --atomic --timeout 90s
expect "list" "$release" "$helm" list --deployed --short
expect "uninstall" "uninstalled" "$helm" uninstall "$release" "${wait[@]}"
refuse "nothing is left of the release" "not found" "$helm" status "$release"
