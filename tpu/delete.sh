#!/usr/bin/env bash
# Deletes all slices of a name with their disks, after asking; does nothing when there are none.
#
#   tpu/delete.sh --name NAME --zone ZONE [--yes] [--project PROJECT] [--dry-run]
#
# Checkpoints on a mounted bucket stay; what lies on the TPU VMs alone is lost.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

YES=false
while [[ $# -gt 0 ]]; do
  common_option "$@"
  if [[ "$SHIFT" -eq 0 ]]; then
    case "$1" in
      --yes) YES=true SHIFT=1 ;;
      *) die "unknown option $1; --help lists them" ;;
    esac
  fi
  shift "$SHIFT"
done
check_target

STATE="$(request_state)"
if [[ -z "$STATE" ]] && ! "$DRY_RUN"; then
  echo "there is no $NAME in $ZONE"
  exit 0
fi
if ! "$YES" && ! "$DRY_RUN"; then
  read -r -p "Delete $NAME ($STATE) in $ZONE? [y/N] " ANSWER || ANSWER=""
  [[ "$ANSWER" == y || "$ANSWER" == Y ]] || die "not deleted"
fi
run_again gcloud compute tpus queued-resources delete "$NAME" "${TARGET[@]}" --force --quiet
