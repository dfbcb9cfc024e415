#!/bin/bash
# Puts uv into the folder named, from PyPI; Debian's pip refuses to install outside a virtual environment, so one is made.
set -euo pipefail
target="$1"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "shoal: python3 is older than 3.11; install a newer one (Debian 12: apt-get install python3)" >&2; exit 2; }
python3 -m venv "$target" >/dev/null 2>&1 || {
  # Debian splits ensurepip off python3; pip itself is enough to get virtualenv into a folder of ours.
  rm -rf "$target"
  python3 -m pip install --quiet --root-user-action=ignore --target "$target.boot" virtualenv || {
    echo "shoal: python3 has neither venv nor pip; apt-get install python3-venv" >&2; exit 2; }
  PYTHONPATH="$target.boot" python3 -m virtualenv --quiet "$target"
}
"$target/bin/python" -m pip install --quiet --disable-pip-version-check "uv>=0.9"
