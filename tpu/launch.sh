#!/usr/bin/env bash
# Starts training on all workers of all slices in the background; does nothing where it runs.
#
#   tpu/launch.sh --name NAME --zone ZONE [--project PROJECT] [--dry-run] -- ARGUMENTS
#   tpu/launch.sh --name NAME --zone ZONE --stop
#
# ARGUMENTS go to `xlingual train --multiprocess`. The same command resumes from the last
# checkpoint, e.g. after spot slices were taken away and made anew; tpu/run.sh does all of that:
#
#   tpu/launch.sh --name a --zone us-west4-a -- \
#     --gin_file=gin/experiments/toy.gin --gin.MODEL_DIR=bucket/runs/toy
#
#   --stop  asks the run to save and to end (SIGTERM)
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

STOP=false
while [[ $# -gt 0 && "$1" != -- ]]; do
  common_option "$@"
  if [[ "$SHIFT" -eq 0 ]]; then
    case "$1" in
      --stop) STOP=true SHIFT=1 ;;
      *) die "unknown option $1; arguments of xlingual train follow --" ;;
    esac
  fi
  shift "$SHIFT"
done
"$STOP" || [[ $# -gt 1 ]] || die "no arguments for xlingual train; expected -- --gin_file=..."
[[ $# -eq 0 ]] || shift
check_target
require_active

TERMINATE="if [ -f $REMOTE_PID ]; then kill \$(cat $REMOTE_PID) 2>/dev/null || true; fi"
if "$STOP"; then
  everywhere "$TERMINATE"
  exit
fi
# Paths are those of the source folder; ~/bucket is linked into it.
TRAIN="$(printf '%q ' .venv/bin/xlingual train --multiprocess "$@")"
START="if [ -f $REMOTE_PID ] && kill -0 \$(cat $REMOTE_PID) 2>/dev/null; then
  echo 'already running'
  exit 0
fi
rm -f $REMOTE_STATUS
cd $REMOTE_DIR
[ ! -d ../bucket ] || ln -sfn ../bucket bucket
if [ -f ../$REMOTE_SECRETS/env ]; then
  set -a
  . ../$REMOTE_SECRETS/env
  set +a
fi
nohup bash -c '\"\$@\" & echo \$! >../$REMOTE_PID; wait \$!; echo \$? >../$REMOTE_STATUS' \
run ${TRAIN}>>../$REMOTE_LOG 2>&1 </dev/null &
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -s ../$REMOTE_PID ] && break; sleep 0.1; done"
if ! everywhere "$START"; then
  say "not every worker could be started; stopping those that were"
  everywhere "$TERMINATE" || true
  exit 1
fi
