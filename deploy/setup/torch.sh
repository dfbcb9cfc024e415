#!/bin/bash
# torch.sh UV VENV FOLDER: makes FOLDER/venv, which sees all of VENV's packages and torch beside them: 5 GB that only who
# runs or tests the torch backend needs.
set -euo pipefail
uv="$1" venv="$2" folder="$3"
mkdir -p "$folder"
if [ ! -x "$folder/venv/bin/python" ]; then
  "$uv" venv --quiet --python "$("$venv/bin/python" -c 'import sys; print(sys._base_executable)')" "$folder/venv"
fi
packages='import sysconfig; print(sysconfig.get_path("purelib"))'
site="$("$folder/venv/bin/python" -c "$packages")"
"$uv" pip install --quiet --python "$folder/venv/bin/python" "$(sed -n 's/^torch = \["\(.*\)"\]/\1/p' pyproject.toml)"
# addsitedir reads the .pth files there, so that what was installed as editable is found too.
echo "import site; site.addsitedir('$("$venv/bin/python" -c "$packages" | xargs realpath)')" >"$site/packages.pth"
