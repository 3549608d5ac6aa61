#!/usr/bin/env bash
# Makes the environment: a virtual environment in .venv, the torch that fits this machine, this package.
#
#   bash scripts/setup.sh              what running needs
#   bash scripts/setup.sh dev          and the extra "dev" of pyproject.toml; several: dev,serve
#
# Run it again whenever you like: it does only what is missing, and after an interruption it starts afresh.
#
# Which torch, in this order: the one that is there, if pyproject.toml accepts it; with an NVIDIA GPU the
# default build; without one a CPU build from pip's configured sources, then from CAUSVID_TORCH_INDEX, and
# at last the default build, which brings CUDA along and is large. Nothing installed later replaces it.
#
#   CAUSVID_DEVICE        auto (default), cpu or cuda: which build of torch
#   CAUSVID_TORCH_INDEX   address of a package index with CPU builds, such as PyTorch's own (pytorch.org)
#   TORCH_VERSION         another torch than 2.13, for example 2.15.0
#   PYTHON                the Python to use, 3.11 or newer
#   VENV                  another folder than .venv
set -euo pipefail

tested_torch=2.13.0
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
case "${VENV:=$root/.venv}" in /*) venv="$VENV" ;; *) venv="$PWD/$VENV" ;; esac
case "${PYTHON:=}" in /*) ;; */*) PYTHON="$PWD/$PYTHON" ;; esac
python="$venv/bin/python"
state="$venv/.causvid" # what this script knows of it; "ours" lies there if it made the environment itself
beater=""
extras="${1:-}"
device="${CAUSVID_DEVICE:-auto}"
cd "$root"

say() { printf '[%3ds] %s\n' "$SECONDS" "$*"; }
die() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

is_supported() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
version_of() { "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null || true; }

find_python() { # sets $base, empty if there is none; a command may exist and still not run (pyenv)
    local candidate
    base="$PYTHON"
    if [ -n "$base" ]; then
        is_supported "$base" || die "PYTHON is $PYTHON, which is not a Python of version 3.11 or newer."
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do
        if is_supported "$candidate"; then
            base="$candidate"
            return
        fi
    done
}

usable_torch() { # prints the version of the torch that this Python has, if it is one we want
    "$1" - "$device" "${TORCH_VERSION:-}" 2>/dev/null <<'PY'
import importlib.metadata, pathlib, sys, tomllib
from pip._vendor.packaging.requirements import Requirement

device, wanted = sys.argv[1:]
version = importlib.metadata.version("torch")
release, _, build = version.partition("+")
needs = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]["dependencies"]
accepted = next(r.specifier for r in map(Requirement, needs) if r.name == "torch")
print(version)
fits = accepted.contains(release, prereleases=True) and wanted in ("", release, version)
sys.exit(not fits or (device == "cuda" and build == "cpu"))
PY
}

discard_unfinished() { # an environment that an interrupted run left half made, or whose Python is gone
    [ -e "$state/ours" ] || return 0
    if [ -e "$state/installing" ]; then
        say "The last set-up was interrupted: starting afresh."
    elif ! is_supported "$python" || ! "$python" -c "import pip" >/dev/null 2>&1; then
        say "$venv does not work any more: starting afresh."
    elif [ -n "$PYTHON" ] && [ "$(version_of "$PYTHON")" != "$(version_of "$python")" ]; then
        say "$venv has Python $(version_of "$python"), PYTHON is $(version_of "$PYTHON"): starting afresh."
    else
        return 0
    fi
    rm -rf "$venv"
}

adopt_venv() { # an environment that is there already, ours or somebody else's
    local instead="delete it, or name another folder with VENV."
    is_supported "$python" || die "$venv has a Python older than 3.11; $instead"
    "$python" -c "import pip" >/dev/null 2>&1 || die "$venv has no pip; $instead"
    mkdir -p "$state"
}

make_venv() {
    local make
    if [ -e "$venv" ] && [ -n "$(ls -A "$venv" 2>/dev/null || echo file)" ]; then
        die "$venv exists and is not a virtual environment; delete it, or name another folder with VENV."
    fi
    find_python
    if [ -n "$base" ] && "$base" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        make=("$base" -m venv)
    elif command -v uv >/dev/null; then
        make=(uv venv --seed --allow-existing --python "${base:->=3.11}")
    elif [ -n "$base" ]; then
        die "$base has no venv module. Install it (Debian, Ubuntu: apt install python3-venv) or uv, and run this again."
    else
        die "no Python 3.11 or newer found. Install one, or name it: PYTHON=/path/to/python3.12 bash scripts/setup.sh"
    fi
    if [ -n "$base" ] && usable_torch "$base" >/dev/null; then
        make+=(--system-site-packages)
    fi
    mkdir -p "$state" 2>/dev/null || die "cannot make the folder $venv."
    touch "$state/ours" "$state/installing"
    if [ -n "$base" ]; then say "Making $venv with Python $(version_of "$base")"; else say "Making $venv with uv"; fi
    "${make[@]}" "$venv" >"$state/log" 2>&1 || fail_with_log "$venv could not be made."
    rm -f "$state/installing"
}

beat() { # long downloads should not look like a hang
    while sleep 20 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        say "  still at it: $(tail -n 1 "$state/log" 2>/dev/null | sed 's/^ *//' | cut -c 1-90)"
    done
}

stop_beat() {
    [ -z "$beater" ] || kill "$beater" 2>/dev/null || true
    beater=""
}

pip_install() { # returns pip's status; an interrupted pip leaves the mark behind
    local status=0
    touch "$state/installing"
    beat 9>&- &
    beater=$!
    disown
    "$python" -m pip install --disable-pip-version-check --no-input --no-compile --progress-bar off \
        -c constraints/tested.txt "$@" >"$state/log" 2>&1 9>&- || status=$?
    stop_beat
    rm -f "$state/installing"
    return $status
}

fail_with_log() {
    tail -n 12 "$state/log" >&2
    die "$1 The lines above are the end of $state/log. Run this again when the cause is gone."
}

install_torch() {
    local version="${TORCH_VERSION:-$tested_torch}" found
    if found="$(usable_torch "$python")"; then
        say "torch $found is there and is kept"
        return
    fi
    if [ "$device" = auto ]; then
        device=cpu
        [[ "$(nvidia-smi -L 2>/dev/null)" == *GPU* ]] && device=cuda
    fi
    if [ "$device" = cuda ]; then
        say "Installing torch for the NVIDIA GPU (several gigabytes, minutes)"
        pip_install "torch==${TORCH_VERSION:-${tested_torch%.*}.*}" || fail_with_log "torch could not be installed."
        return
    fi
    say "Installing torch $version, CPU build"
    pip_install "torch==${version%+*}+cpu" && return
    if [ -n "${CAUSVID_TORCH_INDEX:-}" ]; then
        say "Not among pip's sources: trying CAUSVID_TORCH_INDEX"
        pip_install --retries 0 --timeout 15 --index-url "$CAUSVID_TORCH_INDEX" "torch==$version" && return
    fi
    say "No CPU build found: installing the default build, which is LARGE (about 5 GB, minutes)."
    say "  To avoid that, stop and set CAUSVID_TORCH_INDEX to PyTorch's CPU index (see pytorch.org)."
    pip_install "torch==$version" || fail_with_log "torch could not be installed."
}

install_package() {
    local torch
    torch="$("$python" -c 'from importlib.metadata import version; print(version("torch").partition("+")[0])')"
    echo "torch==$torch" >"$state/torch.txt"
    say "Installing causvid${extras:+ with $extras}, and what it needs"
    pip_install -c "$state/torch.txt" -e ".${extras:+[$extras]}" || fail_with_log "causvid could not be installed."
}

check() {
    if ! "$python" -m pip check >"$state/log" 2>&1; then
        # With the system's packages in view, what they lack is not this environment's fault.
        grep -qi 'include-system-site-packages = true' "$venv/pyvenv.cfg" ||
            fail_with_log "the installed packages do not fit together."
        say "Note: pip check finds packages of the system that do not fit together (see $state/log)"
    fi
    "$python" -P -c 'import torch, causvid
where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
print(f"       causvid {causvid.__version__}, torch {torch.__version__}, {where}")' 2>"$state/log" ||
        fail_with_log "torch is installed and cannot be loaded."
}

key() { # changes when set-up has something to do
    echo "$(cat pyproject.toml constraints/tested.txt scripts/setup.sh | cksum)" "$(version_of "$python")" \
        "$device ${TORCH_VERSION:-}" "$root"
}

case "$device" in auto | cpu | cuda) ;; *) die "CAUSVID_DEVICE is $device; accepted: auto, cpu, cuda." ;; esac
trap 'printf "\nsetup: interrupted; run the same command again.\n" >&2; exit 130' INT TERM
trap stop_beat EXIT
if command -v flock >/dev/null; then # two set-ups at once take turns
    exec 9<pyproject.toml
    flock 9
fi

if [ -n "$PYTHON" ]; then find_python; fi
discard_unfinished
wanted_key=""
if [ -x "$python" ]; then wanted_key="$(key)"; fi
if [ -n "$wanted_key" ] && [ "$wanted_key" = "$(sed -n 1p "$state/ready" 2>/dev/null)" ]; then
    done_extras=",$(sed -n 2p "$state/ready"),"
    missing=""
    for extra in ${extras//,/ }; do
        case "$done_extras" in *",$extra,"*) ;; *) missing=yes ;; esac
    done
    if [ -z "$missing" ]; then
        say "The environment in $venv is ready"
        exit 0
    fi
fi

say "Setting up causvid in $venv (the first time takes a minute or more)"
asked_device="$device"
extras="$(printf '%s,%s' "$extras" "$(sed -n 2p "$state/ready" 2>/dev/null || true)" | tr ',' '\n' | sed '/^$/d' | sort -u | paste -sd , -)"
rm -f "$state/ready"
if [ -x "$python" ]; then adopt_venv; else make_venv; fi
install_torch
install_package
check
device="$asked_device"
printf '%s\n%s\n' "$(key)" "$extras" >"$state/ready.part"
mv "$state/ready.part" "$state/ready"
say "The environment in $venv is ready"
