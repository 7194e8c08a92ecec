#!/usr/bin/env bash
# Trains on TPU slices of a GKE cluster that has the JobSet controller.
#
#   tpu/gke.sh render|launch --name NAME --topology v5p:4x4x4 [--num-slices 2] [--spot]
#              [--bucket BUCKET] [--secrets FILE] [--add PATH]... [--namespace NAMESPACE]
#              [--image IMAGE] [--service-account ACCOUNT] [--reservation NAME] [--max-restarts 100]
#              [--dry-run] -- ARGUMENTS
#   tpu/gke.sh status|logs|delete --name NAME [--namespace NAMESPACE] [--dry-run]
#
#   render   prints the manifest; launch also ships source and secrets, and submits it
#   --add    a file or folder of the source tree that is not committed, e.g. a gin file
#   --secrets  lines NAME=VALUE, in a file with mode 600; becomes the Secret NAME-secrets
# ARGUMENTS go to `xlingual train`. The JobSet restarts all hosts when one fails or is taken away,
# and the run goes on from its last checkpoint. kubectl must be configured for the cluster.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ $# -gt 0 ]] || die "no verb; expected render, launch, status, logs or delete"
VERB="$1"
shift
case "$VERB" in
  -h | --help) usage && exit 0 ;;
  render | launch | status | logs | delete) ;;
  *) die "unknown verb $VERB; expected render, launch, status, logs or delete" ;;
esac
NAMESPACE=default
SECRETS=""
ADDED=()
RENDER=()
while [[ $# -gt 0 && "$1" != -- ]]; do
  SHIFT=2
  case "$1" in
    --name) need_value "$@" && NAME="$2" ;;
    --namespace) need_value "$@" && NAMESPACE="$2" ;;
    --secrets) need_value "$@" && SECRETS="$2" ;;
    --add) need_value "$@" && ADDED+=("$2") ;;
    --topology | --num-slices | --bucket | --image | --service-account | --reservation | --max-restarts)
      need_value "$@" && RENDER+=("$1" "$2")
      ;;
    --spot) RENDER+=(--spot) SHIFT=1 ;;
    --dry-run) DRY_RUN=true SHIFT=1 ;;
    -h | --help) usage && exit 0 ;;
    *) die "unknown option $1; arguments of xlingual train follow --" ;;
  esac
  shift "$SHIFT"
done
[[ -n "$NAME" ]] || die "--name (or TPU_NAME) is not set"
CONTROL=(kubectl "--namespace=$NAMESPACE")

render() {
  python3 "$HERE/jobset.py" --name "$NAME" --namespace "$NAMESPACE" ${RENDER[@]+"${RENDER[@]}"} "$@"
}

# Makes or replaces an object from files, whose content no command line shows.
put() {
  if "$DRY_RUN"; then
    run "${CONTROL[@]}" create "$@" --dry-run=client --output=yaml
  else
    "${CONTROL[@]}" create "$@" --dry-run=client --output=yaml | "${CONTROL[@]}" apply --server-side -f -
  fi
}

case "$VERB" in
  status)
    run "${CONTROL[@]}" get jobset "$NAME"
    run "${CONTROL[@]}" get pods "--selector=jobset.sigs.k8s.io/jobset-name=$NAME" --output=wide
    exit
    ;;
  logs)
    run "${CONTROL[@]}" logs --follow --tail=50 \
      "--selector=jobset.sigs.k8s.io/jobset-name=$NAME,batch.kubernetes.io/job-completion-index=0,jobset.sigs.k8s.io/job-index=0"
    exit
    ;;
  delete)
    run "${CONTROL[@]}" delete --ignore-not-found jobset "$NAME"
    run "${CONTROL[@]}" delete --ignore-not-found "configmap/$NAME-source" "secret/$NAME-secrets"
    exit
    ;;
esac

[[ $# -gt 1 ]] || die "no arguments for xlingual train; expected -- --gin_file=..."
check_secrets "$SECRETS"
[[ -z "$SECRETS" ]] || RENDER+=(--secrets)
MANIFEST="$(render "$@")" || exit 2
if [[ "$VERB" == render ]]; then
  echo "$MANIFEST"
  exit
fi
STAGE="$(mktemp -d)"
trap 'rm -rf "$STAGE"' EXIT
pack_source "$STAGE/xlingual.tar" ${ADDED[@]+"${ADDED[@]}"}
if ! "$DRY_RUN" && [[ "$(wc -c <"$STAGE/xlingual.tar.gz")" -gt 1000000 ]]; then
  die "the source archive is larger than a ConfigMap may be (1 MB); put what --add names on a bucket"
fi
put configmap "$NAME-source" "--from-file=xlingual.tar.gz=$STAGE/xlingual.tar.gz"
[[ -z "$SECRETS" ]] || put secret generic "$NAME-secrets" "--from-env-file=$SECRETS"
if "$DRY_RUN"; then
  run "${CONTROL[@]}" apply -f -
  echo "$MANIFEST"
else
  "${CONTROL[@]}" apply -f - <<<"$MANIFEST"
fi
