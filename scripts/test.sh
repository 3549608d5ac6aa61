#!/usr/bin/env bash
# Sets up everything the tests need (scripts/setup.sh) and runs them: one worker per core, at most four, one
# torch thread each. Arguments go to pytest: bash scripts/test.sh tests/flow -k sigma
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
case "${VENV:=$root/.venv}" in /*) ;; *) VENV="$PWD/$VENV" ;; esac
export VENV OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

bash "$root/scripts/setup.sh" dev
cores="$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)"
workers="$((cores < 4 ? cores : 4))"
echo "Running the tests on $workers cores"
cd "$root"
# A file stays on one worker, so that what its tests share is made once.
exec "$VENV/bin/python" -m pytest -q -n "$workers" --dist loadfile "$@"
