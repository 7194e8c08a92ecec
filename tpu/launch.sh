#!/usr/bin/env bash
# Starts training on all workers in the background; does nothing where it runs already.
#
#   tpu/launch.sh --name NAME --zone ZONE [--project PROJECT] [--dry-run] -- ARGUMENTS
#
# ARGUMENTS go to `xlingual train --multiprocess`. The same command resumes from the last
# checkpoint, e.g. after a spot VM was taken away and made anew:
#
#   tpu/launch.sh --name a --zone us-west4-a -- \
#     --gin_file=gin/experiments/toy.gin --gin.MODEL_DIR=bucket/runs/toy
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

while [[ $# -gt 0 && "$1" != -- ]]; do
  common_option "$@"
  [[ "$SHIFT" -gt 0 ]] || die "unknown option $1; arguments of xlingual train follow --"
  shift "$SHIFT"
done
[[ $# -gt 1 ]] || die "no arguments for xlingual train; expected -- --gin_file=..."
shift
check_target
require_ready

# Paths are those of the source folder; ~/bucket is linked into it.
TRAIN="$(printf '%q ' .venv/bin/xlingual train --multiprocess "$@")"
on_workers all "if [ -f $REMOTE_PID ] && kill -0 \$(cat $REMOTE_PID) 2>/dev/null; then
  echo 'already running'
  exit 0
fi
cd $REMOTE_DIR
[ ! -d ../bucket ] || ln -sfn ../bucket bucket
nohup ${TRAIN}>>../$REMOTE_LOG 2>&1 </dev/null &
echo \$! >../$REMOTE_PID"
