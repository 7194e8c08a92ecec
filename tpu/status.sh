#!/usr/bin/env bash
# Says how the request, its slices and the training on them stand.
#
#   tpu/status.sh --name NAME --zone ZONE [--project PROJECT] [--dry-run]
#
# The last line is one word, and the exit status tells it too: done (0), failed (1), running (10),
# idle (11: nothing was launched), waiting (12: no slices yet), lost (13: slices taken away),
# absent (14), unknown (15: workers do not answer), stopped (16: saved after a signal).
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

while [[ $# -gt 0 ]]; do
  common_option "$@"
  [[ "$SHIFT" -gt 0 ]] || die "unknown option $1; --help lists them"
  shift "$SHIFT"
done
check_target

finish() {
  echo "$1"
  exit "$2"
}

ASK_WORKER="if [ -f $REMOTE_STATUS ] && [ \"\$(cat $REMOTE_STATUS)\" = 0 ] &&
  tail -n 5 $REMOTE_LOG | grep -q 'steps done; results: '; then echo 'done'
elif [ -f $REMOTE_STATUS ]; then echo \"ended \$(cat $REMOTE_STATUS)\"
elif [ -f $REMOTE_PID ] && kill -0 \$(cat $REMOTE_PID) 2>/dev/null; then echo running
elif [ -f $REMOTE_PID ]; then echo 'ended 137'
else echo idle; fi"
if "$DRY_RUN"; then
  run gcloud compute tpus queued-resources describe "$NAME" "${TARGET[@]}"
  on_workers "$NAME" all "$ASK_WORKER"
  exit 0
fi

STATE="$(request_state)" || exit 15
echo "request $NAME: ${STATE:-absent}"
SLICES="$(slice_states)" || exit 15
[[ -z "$SLICES" ]] || echo "$SLICES"
case "$STATE" in
  "") finish absent 14 ;;
  ACTIVE) ;;
  SUSPENDING | SUSPENDED | FAILED | DELETING) finish lost 13 ;;
  *) finish waiting 12 ;;
esac
if [[ -z "$SLICES" ]] || awk '$2 != "READY" { found = 1 } END { exit !found }' <<<"$SLICES"; then
  finish lost 13
fi
ANSWERS=""
while read -r SLICE _; do
  ANSWER="$(on_workers_now "$SLICE" "$ASK_WORKER")" || finish unknown 15
  ANSWERS+="$ANSWER"$'\n'
done <<<"$SLICES"
# Process 0 alone says that the last step is done.
ANSWERS="$(grep -oE '(running|idle|done|ended [0-9]+)$' <<<"$ANSWERS" | sort | uniq -c)" || true
echo "workers:"
echo "$ANSWERS"
case "$ANSWERS" in
  "") finish unknown 15 ;;
  *running*) finish running 10 ;;
  *idle*) finish idle 11 ;;
  *"ended "[1-9]*) finish failed 1 ;;
  *'done'*) finish 'done' 0 ;;
  *) finish stopped 16 ;;
esac
