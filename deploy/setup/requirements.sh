#!/bin/bash
# requirements.sh UV: writes the pinned, hashed requirement files from pyproject.toml. They name no registry.
set -euo pipefail
uv="$1"
options=(--python-version 3.13 --generate-hashes --no-header --no-emit-index-url --no-annotate --quiet)
demo=(--extra cloud --extra demo --group build --group web)
"$uv" pip compile "${options[@]}" pyproject.toml -o deploy/requirements/device.txt
"$uv" pip compile "${options[@]}" pyproject.toml "${demo[@]}" -o deploy/requirements/demo.txt
"$uv" pip compile "${options[@]}" pyproject.toml "${demo[@]}" --group test --group check -o deploy/requirements/dev.txt
"$uv" pip compile "${options[@]}" --no-deps --group peers -o deploy/requirements/peers.txt
"$uv" pip compile "${options[@]}" --group fuzz -o deploy/requirements/fuzz.txt
