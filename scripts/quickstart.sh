#!/usr/bin/env bash
# From a fresh clone to a first video: sets up everything in .venv (scripts/setup.sh) and runs `causvid demo`.
# Arguments go to the demo; the environment variables are those of scripts/setup.sh.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
case "${VENV:=$root/.venv}" in /*) ;; *) VENV="$PWD/$VENV" ;; esac
export VENV

bash "$root/scripts/setup.sh"
echo "Running: $VENV/bin/causvid demo${*:+ $*}"
exec "$VENV/bin/python" -P -m causvid demo "$@"
