# shellcheck shell=bash disable=SC2034
# What the scripts beside it share: options, the describe call, and running or printing a command.
# Sourced, not run: variables that seem unused are read there. Runs on bash 3.2 (macOS) too.

set -euo pipefail

NAME="${TPU_NAME:-}"
ZONE="${TPU_ZONE:-}"
PROJECT="${TPU_PROJECT:-}"
DRY_RUN=false
# Folders on the TPU VM, relative to the home of its user.
REMOTE_DIR="xlingual"
REMOTE_LOG="xlingual.log"
REMOTE_PID="xlingual.pid"

die() {
  echo "$(basename "$0"): error: $*" >&2
  exit 2
}

# Prints the comment block at the top of the script, without the interpreter line.
usage() {
  sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
}

need_value() {
  [[ $# -ge 2 ]] || die "$1 needs a value"
}

# Reads one of the options that all scripts have. Sets SHIFT to the number of words it took, 0 when
# the option is not one of them.
common_option() {
  SHIFT=2
  case "$1" in
    --name) need_value "$@" && NAME="$2" ;;
    --zone) need_value "$@" && ZONE="$2" ;;
    --project) need_value "$@" && PROJECT="$2" ;;
    --dry-run) DRY_RUN=true SHIFT=1 ;;
    -h | --help) usage && exit 0 ;;
    *) SHIFT=0 ;;
  esac
}

# Call after the options are read.
check_target() {
  [[ -n "$NAME" ]] || die "--name (or TPU_NAME) is not set; expected the name of the TPU VM"
  [[ -n "$ZONE" ]] || die "--zone (or TPU_ZONE) is not set; expected e.g. us-west4-a"
  TARGET=("--zone=$ZONE")
  [[ -z "$PROJECT" ]] || TARGET+=("--project=$PROJECT")
}

# Runs a command, or prints it so that it can be pasted into a shell.
run() {
  if "$DRY_RUN"; then
    printf '%q ' "$@"
    printf '\n'
  else
    "$@"
  fi
}

tpu_vm() {
  local verb="$1"
  shift
  run gcloud compute tpus tpu-vm "$verb" "$NAME" "${TARGET[@]}" "$@"
}

# Prints READY, CREATING, ...; nothing when there is no such TPU VM, or in a dry run. Other failures
# (no permission, no network) end the script with gcloud's own message.
tpu_state() {
  local errors output
  if "$DRY_RUN"; then
    return 0
  fi
  errors="$(mktemp)"
  if output="$(gcloud compute tpus tpu-vm describe "$NAME" "${TARGET[@]}" \
    --format='value(state)' 2>"$errors")"; then
    echo "$output"
  elif ! grep -qiE 'NOT_FOUND|not found' "$errors"; then
    cat "$errors" >&2
    rm -f "$errors"
    return 1
  fi
  rm -f "$errors"
}

# Runs a command line on workers: on_workers all|NUMBER COMMAND
on_workers() {
  tpu_vm ssh "--worker=$1" "--command=$2"
}

require_ready() {
  local state
  "$DRY_RUN" && return 0
  state="$(tpu_state)" || exit 1
  [[ "$state" == READY ]] || die "TPU VM $NAME is ${state:-absent}; expected READY (tpu/create.sh)"
}
