# shellcheck shell=bash disable=SC2034
# What the scripts beside it share: options, what is there, and running or printing a command.
# Sourced, not run: variables that seem unused are read there. Runs on bash 3.2 (macOS) too.

set -euo pipefail

NAME="${TPU_NAME:-}"
ZONE="${TPU_ZONE:-}"
PROJECT="${TPU_PROJECT:-}"
DRY_RUN=false
ATTEMPTS="${TPU_ATTEMPTS:-3}"
PAUSE="${TPU_PAUSE_SECONDS:-20}"
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# Files on a TPU VM, relative to the home of its user.
REMOTE_DIR="xlingual"
REMOTE_LOG="xlingual.log"
REMOTE_PID="xlingual.pid"
REMOTE_STATUS="xlingual.status"
REMOTE_SECRETS=".xlingual_secrets"

die() {
  echo "$(basename "$0"): error: $*" >&2
  exit 2
}

say() {
  echo "$(basename "$0"): $*" >&2
}

# Prints the comment block at the top of the script, without the interpreter line.
usage() {
  sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
}

need_value() {
  [[ $# -ge 2 ]] || die "$1 needs a value"
}

need_number() {
  [[ "$2" =~ ^[0-9]+$ ]] || die "$1 $2; expected a number"
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
  [[ -n "$NAME" ]] || die "--name (or TPU_NAME) is not set; expected a name for the slices"
  [[ "$NAME" =~ ^[a-z]([a-z0-9-]*[a-z0-9])?$ ]] ||
    die "--name $NAME; expected lower case letters, digits and hyphens, a letter first"
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

# Runs a command up to ATTEMPTS times: networks fail, and all commands here can be repeated.
run_again() {
  local attempt
  for ((attempt = 1; ; attempt++)); do
    run "$@" && return 0
    if [[ "$attempt" -ge "$ATTEMPTS" ]]; then
      say "failed $ATTEMPTS times: $(printf '%q ' "${@:1:6}")..."
      return 1
    fi
    say "attempt $attempt failed; again in $PAUSE s"
    sleep "$PAUSE"
  done
}

# Asks gcloud, and prints nothing when there is no such thing, or in a dry run. Other failures (no
# permission, no network) end the script with gcloud's own message.
ask() {
  local errors output
  if "$DRY_RUN"; then
    return 0
  fi
  errors="$(mktemp)"
  if output="$(gcloud compute tpus "$@" "${TARGET[@]}" 2>"$errors")"; then
    echo "$output"
  elif ! grep -qiE 'NOT_FOUND|not found' "$errors"; then
    cat "$errors" >&2
    rm -f "$errors"
    return 1
  fi
  rm -f "$errors"
}

# Prints ACTIVE, WAITING_FOR_RESOURCES, SUSPENDED, FAILED, ...; nothing when there is no request.
request_state() {
  ask queued-resources describe "$NAME" '--format=value(state.state)'
}

# Prints the slices of the request, a name and a state (READY, PREEMPTED, ...) a line. A slice is one
# TPU VM, which has one or more workers. A dry run names one.
slice_states() {
  if "$DRY_RUN"; then
    printf '%s\tREADY\n' "$NAME"
  else
    ask tpu-vm list "--filter=queuedResource~/queuedResources/$NAME\$" \
      '--format=value(name.basename(),state)'
  fi
}

slices() {
  slice_states | cut -f 1
}

require_active() {
  local state lost
  "$DRY_RUN" && return 0
  state="$(request_state)" || exit 1
  [[ "$state" == ACTIVE ]] || die "$NAME is ${state:-absent}; expected ACTIVE (tpu/create.sh)"
  lost="$(slice_states | awk '$2 != "READY" { print $1 " is " $2 "; " }')" || exit 1
  [[ -z "$lost" ]] || die "${lost}expected READY"
}

# Runs a command line on workers: on_workers SLICE all|NUMBER COMMAND
on_workers() {
  run gcloud compute tpus tpu-vm ssh "$1" "${TARGET[@]}" "--worker=$2" "--command=$3"
}

# The same on all workers of all slices at once, each slice up to ATTEMPTS times. Fails when one does.
everywhere() {
  local slice pids=() pid failed=0
  for slice in $(slices); do
    if "$DRY_RUN"; then
      on_workers "$slice" all "$1"
    else
      run_again on_workers_now "$slice" "$1" &
      pids+=($!)
    fi
  done
  for pid in ${pids[@]+"${pids[@]}"}; do
    wait "$pid" || failed=1
  done
  return "$failed"
}

on_workers_now() {
  on_workers "$1" all "$2" </dev/null
}

# A file of secrets must be readable by its owner alone, and hold lines NAME=VALUE only.
check_secrets() {
  local mode
  [[ -n "$1" ]] || return 0
  [[ -f "$1" ]] || die "--secrets $1; expected a file"
  mode="$(stat -c %a "$1" 2>/dev/null || stat -f %Lp "$1")"
  [[ "$mode" == 600 || "$mode" == 400 ]] ||
    die "--secrets $1 has mode $mode; expected 600: chmod 600 $1"
  ! grep -qvE '^([A-Za-z_][A-Za-z0-9_]*=.*|#.*|)$' "$1" ||
    die "--secrets $1 has a line that is not NAME=VALUE; expected e.g. WANDB_API_KEY=..."
}

# Checks the paths of --add, which are those of files of the source tree.
check_added() {
  local path
  for path in "$@"; do
    [[ "$path" != /* && "$path" != -* && -e "$HERE/../$path" ]] ||
      die "--add $path; expected a file or folder, by its path in the source tree"
  done
}

# Writes the committed source, and the paths that follow, to FILE.gz: pack_source FILE [PATH]...
pack_source() {
  local file="$1" path
  shift
  check_added "$@"
  run git -C "$HERE/.." archive --format=tar "--output=$file" HEAD -- . ':!tests' ':!docs' ':!benchmarks'
  for path in "$@"; do
    run tar -C "$HERE/.." -rf "$file" "$path"
  done
  run gzip "$file"
}
