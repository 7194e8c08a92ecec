#!/usr/bin/env bash
# Runs a training to its end: creates, sets up, launches and watches, and does it again when slices
# are taken away or a worker fails. The run goes on from its last checkpoint, at the exact batch.
#
#   tpu/run.sh --name NAME --zone ZONE --type TYPE [--num-slices N] [--spot | --reserved]
#              [--bucket BUCKET] [--add PATH]... [--secrets FILE] [--max-failures 3] [--poll 60]
#              [--keep] [--project PROJECT] [--dry-run] -- ARGUMENTS
#
#   --max-failures  give up after so many failures of the training in a row, each within the hour;
#                   slices that are taken away do not count
#   --poll          seconds between looks at the run
#   --keep          leave the slices when the training is done; else they are deleted
# Other options are those of tpu/create.sh and tpu/setup.sh; ARGUMENTS go to `xlingual train`. Start
# it in tmux or as a service on a machine that stays up; it can be stopped and started at any time.
# It goes on after a SIGTERM too (maintenance of a host): end this script before a run is to stop.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

MAX_FAILURES=3
POLL=60
KEEP=false
CREATE=()
SETUP=()
while [[ $# -gt 0 && "$1" != -- ]]; do
  common_option "$@"
  if [[ "$SHIFT" -eq 0 ]]; then
    SHIFT=2
    case "$1" in
      --type | --num-slices | --version | --reservation) need_value "$@" && CREATE+=("$1" "$2") ;;
      --spot | --reserved) CREATE+=("$1") SHIFT=1 ;;
      --bucket | --add | --secrets) need_value "$@" && SETUP+=("$1" "$2") ;;
      --max-failures) need_value "$@" && need_number "$@" && MAX_FAILURES="$2" ;;
      --poll) need_value "$@" && need_number "$@" && POLL="$2" ;;
      --keep) KEEP=true SHIFT=1 ;;
      *) die "unknown option $1; arguments of xlingual train follow --" ;;
    esac
  fi
  shift "$SHIFT"
done
[[ $# -gt 1 ]] || die "no arguments for xlingual train; expected -- --gin_file=..."
shift
check_target
COMMON=(--name "$NAME" --zone "$ZONE")
[[ -z "$PROJECT" ]] || COMMON+=(--project "$PROJECT")

begin() {
  "$HERE/setup.sh" "${COMMON[@]}" ${SETUP[@]+"${SETUP[@]}"} && launch "$@"
}

launch() {
  LAUNCHED="$SECONDS"
  "$HERE/launch.sh" "${COMMON[@]}" -- "$@"
}

if "$DRY_RUN"; then
  COMMON+=(--dry-run)
  "$HERE/create.sh" "${COMMON[@]}" ${CREATE[@]+"${CREATE[@]}"}
  begin "$@"
  "$KEEP" || "$HERE/delete.sh" "${COMMON[@]}"
  exit 0
fi

FAILURES=0
LAUNCHED="$SECONDS"
# Counts a failure, and gives up at too many that follow each other within the hour.
failed() {
  [[ $((SECONDS - LAUNCHED)) -lt 3600 ]] || FAILURES=0
  FAILURES=$((FAILURES + 1))
  say "$1 (failure $FAILURES of $MAX_FAILURES)"
  if [[ "$FAILURES" -ge "$MAX_FAILURES" ]]; then
    say "giving up; the slices stay for a look at them: tpu/logs.sh, then tpu/delete.sh"
    exit 1
  fi
  sleep "$PAUSE"
}

while true; do
  STATUS="$("$HERE/status.sh" "${COMMON[@]}" | tail -n 1)" || true
  case "$STATUS" in
    done) break ;;
    running) sleep "$POLL" ;;
    idle) begin "$@" || failed "the launch failed" ;;
    failed)
      failed "the training failed"
      launch "$@" || say "the launch failed"
      ;;
    stopped)
      say "the training was stopped by a signal; going on"
      launch "$@" || failed "the launch failed"
      ;;
    lost)
      say "the slices are lost; making new ones"
      "$HERE/delete.sh" "${COMMON[@]}" --yes || failed "the old slices could not be deleted"
      ;;
    absent | waiting)
      CODE=0
      "$HERE/create.sh" "${COMMON[@]}" ${CREATE[@]+"${CREATE[@]}"} || CODE=$?
      case "$CODE" in
        0) begin "$@" || failed "the launch failed" ;;
        2) exit 2 ;;
        3) ;;
        4) sleep "$PAUSE" ;;
        *) failed "the request failed" ;;
      esac
      ;;
    *)
      say "the state is not known (${STATUS:-no answer}); looking again"
      sleep "$PAUSE"
      ;;
  esac
done
say "the training is done"
"$KEEP" || "$HERE/delete.sh" "${COMMON[@]}" --yes
