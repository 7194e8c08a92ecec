#!/usr/bin/env bash
# Trains on the GPUs of a SLURM cluster: one task a GPU, requeued until the training is done.
#
#   tpu/slurm.sh [--nodes 2] [--gpus-per-node 8] [--time 24:00:00] [--partition PARTITION]
#                [--account ACCOUNT] [--job-name xlingual] [--secrets FILE] [--log-dir logs]
#                [--max-requeues 100] [--dry-run] -- ARGUMENTS
#
# ARGUMENTS go to `xlingual train --multiprocess --cluster=slurm`. Submit it from the source folder,
# which all nodes share, with xlingual installed in .venv (pip install -e '.[seqio]' 'jax[cuda12]').
# Five minutes before the time is over, and when the job is preempted, all tasks save the same step
# and the job is queued again; so it is after a node fails. --dry-run prints the batch script.
#   --secrets  lines NAME=VALUE, in a file with mode 600 on the shared file system; the job reads it
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

NODES=1
GPUS=8
LIMIT=24:00:00
JOB=xlingual
LOGS=logs
MAX_REQUEUES=100
SECRETS=""
MORE=()
while [[ $# -gt 0 && "$1" != -- ]]; do
  SHIFT=2
  case "$1" in
    --nodes) need_value "$@" && need_number "$@" && NODES="$2" ;;
    --gpus-per-node) need_value "$@" && need_number "$@" && GPUS="$2" ;;
    --max-requeues) need_value "$@" && need_number "$@" && MAX_REQUEUES="$2" ;;
    --time) need_value "$@" && LIMIT="$2" ;;
    --job-name) need_value "$@" && JOB="$2" ;;
    --log-dir) need_value "$@" && LOGS="$2" ;;
    --secrets) need_value "$@" && SECRETS="$2" ;;
    --partition | --account) need_value "$@" && MORE+=("$1=$2") ;;
    --dry-run) DRY_RUN=true SHIFT=1 ;;
    -h | --help) usage && exit 0 ;;
    *) die "unknown option $1; arguments of xlingual train follow --" ;;
  esac
  shift "$SHIFT"
done
[[ $# -gt 1 ]] || die "no arguments for xlingual train; expected -- --gin_file=..."
shift
check_secrets "$SECRETS"
[[ -z "$SECRETS" || "$SECRETS" == /* ]] || SECRETS="$PWD/$SECRETS"
[[ "$LIMIT" =~ ^[0-9:-]+$ ]] || die "--time $LIMIT; expected e.g. 24:00:00"
[[ "$JOB$LOGS" =~ ^[A-Za-z0-9_./-]+$ ]] || die "--job-name $JOB, --log-dir $LOGS; expected plain names"

# srun ends all tasks when one fails (--kill-on-bad-exit), and passes the warning signal on. The
# status 0 without a signal is the end of the training; everything else is queued again.
BATCH="#!/usr/bin/env bash
#SBATCH --job-name=$JOB
#SBATCH --nodes=$NODES
#SBATCH --ntasks-per-node=$GPUS
#SBATCH --gpus-per-node=$GPUS
#SBATCH --time=$LIMIT
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=$LOGS/%x-%j.log
set -u
SECRETS=$(printf '%q' "$SECRETS")
if [[ -n \"\$SECRETS\" ]]; then
  set -a
  # shellcheck disable=SC1090
  . \"\$SECRETS\"
  set +a
fi
stopped=0
trap 'stopped=1; kill -TERM \"\$child\" 2>/dev/null' TERM
srun --kill-on-bad-exit=1 .venv/bin/xlingual train --multiprocess --cluster=slurm $(printf '%q ' "$@")&
child=\$!
wait \"\$child\"
code=\$?
while kill -0 \"\$child\" 2>/dev/null; do
  wait \"\$child\"
  code=\$?
done
if [[ \"\$stopped\" == 0 && \"\$code\" == 0 ]]; then
  exit 0
fi
if [[ \"\$code\" == 2 || \"\${SLURM_RESTART_COUNT:-0}\" -ge $MAX_REQUEUES ]]; then
  echo \"not queued again: status \$code, \${SLURM_RESTART_COUNT:-0} requeues\"
  exit 1
fi
scontrol requeue \"\$SLURM_JOB_ID\""

if "$DRY_RUN"; then
  echo "$BATCH"
else
  mkdir -p "$LOGS"
  sbatch ${MORE[@]+"${MORE[@]}"} <<<"$BATCH"
fi
