#!/bin/sh
# All that is to be measured and tested on a GPU, in at most 8 minutes: gpu.py says what.
#   benchmarks/gpu.sh [--out FILE] [--parts NAME...] [--dry]
# PYTHON chooses the interpreter (default: .venv's, else python3's). Installs and downloads nothing.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$(command -v "$python")" ] || python=python3
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
export HEADSTART_CACHE="$cache" HF_HUB_OFFLINE=1
export PYTHONPATH="$root/src${PYTHONPATH:+:$PYTHONPATH}"
"$python" "$root/benchmarks/gpu.py" "$@"
