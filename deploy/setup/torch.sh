#!/bin/bash
# torch.sh UV VENV FOLDER: makes FOLDER/venv, which sees all of VENV's packages and torch beside them: 5 GB that only who
# runs or tests the torch backend needs.
set -euo pipefail
uv="$1" venv="$2" folder="$3"
listed="$("$(dirname "$0")/beside.sh" "$uv" "$venv" "$folder")"
mapfile -t packages <<<"$listed"
"$uv" pip install --quiet --python "$folder/venv/bin/python" "$(sed -n 's/^torch = \["\(.*\)"\]/\1/p' pyproject.toml)"
# addsitedir reads the .pth files there, so that what was installed as editable is found too.
echo "import site; site.addsitedir('${packages[0]}')" >"${packages[1]}/packages.pth"
