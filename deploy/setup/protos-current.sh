#!/bin/bash
# protos-current.sh PYTHON: fails when the generated code beside the .proto files is not what they generate,
# or when a message changed in a way that an old device could not read.
set -euo pipefail
python="$1" fresh="$(mktemp -d)"
trap 'rm -rf "$fresh"' EXIT
mkdir "$fresh/out"
"$python" -m grpc_tools.protoc -I protos --python_out="$fresh/out" --pyi_out="$fresh/out" --grpc_python_out="$fresh/out" protos/shoal/*/v1/*.proto
while read -r file; do
  cmp -s "$fresh/out/$file" "protos/$file" || { echo "protos/$file is not current: run make protos" >&2; exit 1; }
done < <(cd "$fresh/out" && find . -type f)
base="$(git describe --tags --abbrev=0 2>/dev/null || git rev-list --max-parents=0 HEAD | tail -1)"
if [ -n "$base" ] && git cat-file -e "$base:buf.yaml" 2>/dev/null; then
  mkdir "$fresh/base"
  git archive "$base" buf.yaml protos | tar -x -C "$fresh/base"
  "$(dirname "$python")/buf" breaking --against "$fresh/base"
fi
