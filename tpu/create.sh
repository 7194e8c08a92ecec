#!/usr/bin/env bash
# Asks for one or more TPU slices (a queued resource) and waits for them, or leaves what is there.
#
#   tpu/create.sh --name NAME --zone ZONE --type TYPE [--num-slices 1] [--spot | --reserved]
#                 [--reservation RESERVATION] [--version VERSION] [--wait SECONDS]
#                 [--project PROJECT] [--dry-run]
#
#   --type        accelerator type, e.g. v5litepod-16 (tpu/topologies.md)
#   --num-slices  slices of this type, joined by the data-centre network
#   --spot        cheaper, and may be taken away at any time: see tpu/run.sh
#   --reserved    from your project's reservation; --reservation names one of several
#   --version     runtime version; by default the one of the type's generation
#   --wait        seconds to wait for the slices, 0 not at all (86400)
# TPU_NAME, TPU_ZONE and TPU_PROJECT stand in for --name, --zone and --project.
# Ends with status 0 when the slices are there, 3 when they are not in time, 4 when the request
# failed or its slices were taken away (tpu/delete.sh, then again).
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

TYPE=""
VERSION=""
NUM_SLICES=1
WAIT=86400
EXTRA=()
while [[ $# -gt 0 ]]; do
  common_option "$@"
  if [[ "$SHIFT" -eq 0 ]]; then
    SHIFT=2
    case "$1" in
      --type) need_value "$@" && TYPE="$2" ;;
      --version) need_value "$@" && VERSION="$2" ;;
      --num-slices) need_value "$@" && need_number "$@" && NUM_SLICES="$2" ;;
      --wait) need_value "$@" && need_number "$@" && WAIT="$2" ;;
      --spot) EXTRA+=(--spot) SHIFT=1 ;;
      --reserved) EXTRA+=(--reserved) SHIFT=1 ;;
      --reservation) need_value "$@" && EXTRA+=(--reserved "--reservation=$2") ;;
      *) die "unknown option $1; --help lists them" ;;
    esac
  fi
  shift "$SHIFT"
done
check_target
[[ -n "$TYPE" ]] || die "--type is not set; expected e.g. v5litepod-16"
[[ "$NUM_SLICES" -ge 1 ]] || die "--num-slices $NUM_SLICES; expected at least 1"
if [[ " ${EXTRA[*]-} " == *" --spot "* && " ${EXTRA[*]-} " == *" --reserved "* ]]; then
  die "--spot and --reserved exclude each other"
fi

if [[ -z "$VERSION" ]]; then
  case "$TYPE" in
    v4-*) VERSION="tpu-ubuntu2204-base" ;;
    v5litepod-*) VERSION="v2-alpha-tpuv5-lite" ;;
    v5p-*) VERSION="v2-alpha-tpuv5" ;;
    v6e-*) VERSION="v2-alpha-tpuv6e" ;;
    tpu7x-*) die "--type $TYPE has no TPU VMs of its own; use GKE (tpu/gke.sh)" ;;
    *) die "no runtime version is known for --type $TYPE; give one with --version" ;;
  esac
fi
if [[ "$NUM_SLICES" -eq 1 ]]; then
  NODES=("--node-id=$NAME")
else
  NODES=("--node-count=$NUM_SLICES" "--node-prefix=$NAME")
fi

STATE="$(request_state)"
if [[ -z "$STATE" ]]; then
  run gcloud compute tpus queued-resources create "$NAME" "${TARGET[@]}" "${NODES[@]}" \
    "--accelerator-type=$TYPE" "--runtime-version=$VERSION" ${EXTRA[@]+"${EXTRA[@]}"}
  "$DRY_RUN" && exit 0
else
  say "$NAME is there already ($STATE)"
fi

BEGUN="$SECONDS"
while true; do
  STATE="$(request_state)"
  case "$STATE" in
    ACTIVE)
      say "$NAME is ACTIVE"
      exit 0
      ;;
    FAILED | SUSPENDING | SUSPENDED | DELETING)
      say "$NAME is $STATE: $(ask queued-resources describe "$NAME" '--format=value(state)')"
      exit 4
      ;;
  esac
  [[ $((SECONDS - BEGUN)) -lt "$WAIT" ]] || break
  say "$NAME is ${STATE:-not listed yet}; waiting"
  sleep "$PAUSE"
done
say "$NAME is ${STATE:-absent} after $WAIT s; the request stays"
[[ "$WAIT" -eq 0 ]] || exit 3
