#!/usr/bin/env bash
# Shows the training log of a worker, and follows it.
#
#   tpu/logs.sh --name NAME --zone ZONE [--worker 0] [--slice 0] [--lines 50] [--no-follow]
#               [--project PROJECT] [--dry-run]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

WORKER=0
SLICE=0
LINES_SHOWN=50
FOLLOW=" -F"
while [[ $# -gt 0 ]]; do
  common_option "$@"
  if [[ "$SHIFT" -eq 0 ]]; then
    SHIFT=2
    case "$1" in
      --worker) need_value "$@" && WORKER="$2" ;;
      --slice) need_value "$@" && need_number "$@" && SLICE="$2" ;;
      --lines) need_value "$@" && need_number "$@" && LINES_SHOWN="$2" ;;
      --no-follow) FOLLOW="" SHIFT=1 ;;
      *) die "unknown option $1; --help lists them" ;;
    esac
  fi
  shift "$SHIFT"
done
check_target
[[ "$WORKER" =~ ^([0-9]+|all)$ ]] || die "--worker $WORKER; expected a number or all"
require_active

NODE="$(slices | sed -n "$((SLICE + 1))p")"
[[ -n "$NODE" ]] || die "--slice $SLICE; $NAME has $(slices | wc -l) slices, counted from 0"
on_workers "$NODE" "$WORKER" "tail -n $LINES_SHOWN$FOLLOW $REMOTE_LOG"
