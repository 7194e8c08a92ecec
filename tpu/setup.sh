#!/usr/bin/env bash
# Copies the source to every worker of every slice and installs it there; again after every change.
#
#   tpu/setup.sh --name NAME --zone ZONE [--bucket BUCKET] [--add PATH]... [--secrets FILE]
#                [--project PROJECT] [--dry-run]
#
#   --bucket   Cloud Storage bucket to mount as ~/bucket on every worker: for data, and for a
#              MODEL_DIR that all workers share
#   --add      a file or folder of the source tree that is not committed, e.g. a gin file; the
#              committed tree is copied in any case
#   --secrets  lines NAME=VALUE, e.g. WANDB_API_KEY=...: the environment of the training. The file
#              must be yours alone (chmod 600); it is copied as a file, and no command line, log or
#              listing of processes ever shows what it holds
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

BUCKET=""
SECRETS=""
ADDED=()
while [[ $# -gt 0 ]]; do
  common_option "$@"
  if [[ "$SHIFT" -eq 0 ]]; then
    SHIFT=2
    case "$1" in
      --bucket) need_value "$@" && BUCKET="${2#gs://}" ;;
      --add) need_value "$@" && ADDED+=("$2") ;;
      --secrets) need_value "$@" && SECRETS="$2" ;;
      *) die "unknown option $1; --help lists them" ;;
    esac
  fi
  shift "$SHIFT"
done
check_target
check_secrets "$SECRETS"
check_added ${ADDED[@]+"${ADDED[@]}"}
require_active

STAGE="$(mktemp -d)"
trap 'rm -rf "$STAGE"' EXIT
pack_source "$STAGE/xlingual.tar" ${ADDED[@]+"${ADDED[@]}"}
for SLICE in $(slices); do
  run_again gcloud compute tpus tpu-vm scp "$STAGE/xlingual.tar.gz" "$SLICE:xlingual.tar.gz" \
    --worker=all "${TARGET[@]}" || exit 1
done

INSTALL="set -e
mkdir -p $REMOTE_DIR
tar -xzf xlingual.tar.gz -C $REMOTE_DIR
cd $REMOTE_DIR
PYTHON=\$(command -v python3.12 || command -v python3.11 || true)
if [ -z \"\$PYTHON\" ] || ! \"\$PYTHON\" -c 'import ensurepip, venv' 2>/dev/null; then
  sudo apt-get update -q && sudo apt-get install -qy python3.11 python3.11-venv
  PYTHON=python3.11
fi
[ -x .venv/bin/python ] || \"\$PYTHON\" -m venv .venv
.venv/bin/pip install -q --upgrade pip
.venv/bin/pip install -q --editable '.[seqio,tpu]'"
everywhere "$INSTALL" || die "not every worker was set up; the same command goes on"

if [[ -n "$SECRETS" ]]; then
  everywhere "umask 077 && mkdir -p $REMOTE_SECRETS && chmod 700 $REMOTE_SECRETS" || exit 1
  for SLICE in $(slices); do
    run_again gcloud compute tpus tpu-vm scp "$SECRETS" "$SLICE:$REMOTE_SECRETS/env" \
      --worker=all "${TARGET[@]}" || exit 1
  done
  everywhere "chmod 600 $REMOTE_SECRETS/env" || exit 1
fi

if [[ -n "$BUCKET" ]]; then
  MOUNT="set -e
if ! command -v gcsfuse >/dev/null; then
  . /etc/os-release
  echo \"deb [signed-by=/usr/share/keyrings/cloud.google.asc] \
https://packages.cloud.google.com/apt gcsfuse-\$VERSION_CODENAME main\" |
    sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
  curl -fsSL https://packages.cloud.google.com/apt/doc/apt-key.gpg |
    sudo tee /usr/share/keyrings/cloud.google.asc >/dev/null
  sudo apt-get update -q && sudo apt-get install -qy gcsfuse
fi
mkdir -p bucket
mountpoint -q bucket || gcsfuse --implicit-dirs $(printf '%q' "$BUCKET") bucket"
  everywhere "$MOUNT" || die "not every worker has mounted $BUCKET; the same command goes on"
fi
