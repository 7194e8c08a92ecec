#!/usr/bin/env bash
# Shows the training log of a worker, and follows it.
#
#   tpu/logs.sh --name NAME --zone ZONE [--worker 0] [--lines 50] [--no-follow]
#               [--project PROJECT] [--dry-run]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

WORKER=0
LINES_SHOWN=50
FOLLOW=" -F"
while [[ $# -gt 0 ]]; do
  common_option "$@"
  if [[ "$SHIFT" -eq 0 ]]; then
    case "$1" in
      --worker) need_value "$@" && WORKER="$2" SHIFT=2 ;;
      --lines) need_value "$@" && LINES_SHOWN="$2" SHIFT=2 ;;
      --no-follow) FOLLOW="" SHIFT=1 ;;
      *) die "unknown option $1; --help lists them" ;;
    esac
  fi
  shift "$SHIFT"
done
check_target
[[ "$LINES_SHOWN" =~ ^[0-9]+$ ]] || die "--lines $LINES_SHOWN; expected a number"
[[ "$WORKER" =~ ^([0-9]+|all)$ ]] || die "--worker $WORKER; expected a number or all"
require_ready

on_workers "$WORKER" "tail -n $LINES_SHOWN$FOLLOW $REMOTE_LOG"
