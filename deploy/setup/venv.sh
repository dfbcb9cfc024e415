#!/bin/bash
# venv.sh UV VENV REQUIREMENTS: makes the environment on CPython 3.13 and installs the pinned requirements.
set -euo pipefail
uv="$1" venv="$2" requirements="$3"

# Debian has Python's headers in a package of their own; without them nothing native can be built.
works() {
  [ -n "$1" ] && "$1" -c '
import os, sys, sysconfig
headers = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(sys.version_info[:2] != (3, 13) or not os.path.exists(headers))' >/dev/null 2>&1
}

find_python() {
  if [ -n "${SHOAL_PYTHON:-}" ]; then
    works "$SHOAL_PYTHON" && echo "$SHOAL_PYTHON" && return
    echo "shoal: SHOAL_PYTHON=$SHOAL_PYTHON is not a working CPython 3.13 with its headers; unset it or point it at one" >&2; return 1
  fi
  local candidate
  for candidate in python3.13 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13.*/bin/python3.13 /usr/local/bin/python3.13; do
    if works "$candidate"; then command -v "$candidate"; return; fi
  done
  "$uv" python install --quiet 3.13 >&2 && "$uv" python find --system 3.13 && return
  echo "shoal: no CPython 3.13 with its headers found and uv could not fetch one; install it (Debian 13: apt-get install python3-dev), or set SHOAL_PYTHON to its path" >&2
  return 1
}

if [ ! -x "$venv/bin/python" ]; then
  python="$(find_python)"
  "$uv" venv --quiet --python "$python" "$venv"
fi
VIRTUAL_ENV="$venv" "$uv" pip install --quiet --python "$venv/bin/python" --require-hashes -r "$requirements"
