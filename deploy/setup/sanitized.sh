#!/bin/bash
# sanitized.sh UV VENV FOLDER: makes FOLDER/venv, which sees all of VENV's packages but has our native modules built with
# AddressSanitizer and UndefinedBehaviorSanitizer in place of the usual ones.
set -euo pipefail
uv="$1" venv="$2" folder="$3"
listed="$("$(dirname "$0")/beside.sh" "$uv" "$venv" "$folder")"
mapfile -t packages <<<"$listed"
# A folder that a .pth file names has its own .pth files ignored: the usual modules' editable install stays out.
echo "${packages[0]}" >"${packages[1]}/packages.pth"
"$uv" pip install --quiet --python "$folder/venv/bin/python" --no-deps --no-build-isolation -e . \
  -C cmake.define.SHOAL_SANITIZE=ON -C cmake.build-type=Release -C build-dir="$folder/{wheel_tag}"
