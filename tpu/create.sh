#!/usr/bin/env bash
# Creates a TPU VM, or does nothing when it is there.
#
#   tpu/create.sh --name NAME --zone ZONE --type TYPE [--version VERSION] [--spot]
#                 [--project PROJECT] [--dry-run]
#
#   --type     accelerator type, e.g. v5litepod-16 (tpu/topologies.md)
#   --version  runtime version; by default the one of the type's generation
#   --spot     cheaper, and may be taken away: start tpu/launch.sh again after a new create
# TPU_NAME, TPU_ZONE and TPU_PROJECT stand in for --name, --zone and --project.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

TYPE=""
VERSION=""
EXTRA=()
while [[ $# -gt 0 ]]; do
  common_option "$@"
  if [[ "$SHIFT" -eq 0 ]]; then
    case "$1" in
      --type) need_value "$@" && TYPE="$2" SHIFT=2 ;;
      --version) need_value "$@" && VERSION="$2" SHIFT=2 ;;
      --spot) EXTRA+=(--spot) SHIFT=1 ;;
      *) die "unknown option $1; --help lists them" ;;
    esac
  fi
  shift "$SHIFT"
done
check_target
[[ -n "$TYPE" ]] || die "--type is not set; expected e.g. v5litepod-16"

if [[ -z "$VERSION" ]]; then
  case "$TYPE" in
    v2-* | v3-* | v4-*) VERSION="tpu-ubuntu2204-base" ;;
    v5litepod-*) VERSION="v2-alpha-tpuv5-lite" ;;
    v5p-*) VERSION="v2-alpha-tpuv5" ;;
    v6e-*) VERSION="v2-alpha-tpuv6e" ;;
    *) die "no runtime version is known for --type $TYPE; give one with --version" ;;
  esac
fi

STATE="$(tpu_state)"
case "$STATE" in
  "") tpu_vm create "--accelerator-type=$TYPE" "--version=$VERSION" ${EXTRA[@]+"${EXTRA[@]}"} ;;
  READY | CREATING) echo "TPU VM $NAME is there already ($STATE)" ;;
  *) die "TPU VM $NAME is $STATE; delete it first (tpu/delete.sh)" ;;
esac
