#!/bin/bash
# beside.sh UV VENV FOLDER: makes FOLDER/venv with VENV's Python, where there is none, and prints the folder of VENV's
# packages and that of its own: whoever calls says how the one is seen from the other.
set -euo pipefail
uv="$1" venv="$2" folder="$3"
mkdir -p "$folder"
if [ ! -x "$folder/venv/bin/python" ]; then
  "$uv" venv --quiet --python "$("$venv/bin/python" -c 'import sys; print(sys._base_executable)')" "$folder/venv"
fi
packages='import os, sysconfig; print(os.path.realpath(sysconfig.get_path("purelib")))'
"$venv/bin/python" -c "$packages"
"$folder/venv/bin/python" -c "$packages"
