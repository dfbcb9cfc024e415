#!/bin/bash
# sanitized.sh UV VENV FOLDER: makes FOLDER/venv, which sees all of VENV's packages but has our native modules built with
# AddressSanitizer and UndefinedBehaviorSanitizer in place of the usual ones.
set -euo pipefail
uv="$1" venv="$2" folder="$3"
mkdir -p "$folder"
if [ ! -x "$folder/venv/bin/python" ]; then
  "$uv" venv --quiet --python "$("$venv/bin/python" -c 'import sys; print(sys._base_executable)')" "$folder/venv"
fi
packages='import sysconfig; print(sysconfig.get_path("purelib"))'
# A folder that a .pth file names has its own .pth files ignored: the usual modules' editable install stays out.
"$venv/bin/python" -c "$packages" >"$("$folder/venv/bin/python" -c "$packages")/packages.pth"
"$uv" pip install --quiet --python "$folder/venv/bin/python" --no-deps --no-build-isolation -e . \
  -C cmake.define.SHOAL_SANITIZE=ON -C cmake.build-type=Release -C build-dir="$folder/{wheel_tag}"
