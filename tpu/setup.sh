#!/usr/bin/env bash
# Copies the committed source to every worker and installs it there; again after every change.
#
#   tpu/setup.sh --name NAME --zone ZONE [--bucket BUCKET] [--project PROJECT] [--dry-run]
#
#   --bucket  Cloud Storage bucket to mount as ~/bucket on every worker: for data, and for a
#             MODEL_DIR that all workers share
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

BUCKET=""
while [[ $# -gt 0 ]]; do
  common_option "$@"
  if [[ "$SHIFT" -eq 0 ]]; then
    case "$1" in
      --bucket) need_value "$@" && BUCKET="${2#gs://}" SHIFT=2 ;;
      *) die "unknown option $1; --help lists them" ;;
    esac
  fi
  shift "$SHIFT"
done
check_target
require_ready

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
ARCHIVE="$(mktemp -d)/xlingual.tar.gz"
trap 'rm -rf "$(dirname "$ARCHIVE")"' EXIT
run git -C "$ROOT" archive --format=tar.gz "--output=$ARCHIVE" HEAD
run gcloud compute tpus tpu-vm scp "$ARCHIVE" "$NAME:xlingual.tar.gz" --worker=all "${TARGET[@]}"

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
on_workers all "$INSTALL"

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
  on_workers all "$MOUNT"
fi
