#!/bin/bash
# protos-current.sh PYTHON: fails when a message changed in a way that an old device could not read, or when what is made
# from the .proto files is not what they make now: the generated code, and the schema that changes are held against.
# That schema lies beside the golden messages, so that the comparison needs neither history nor tags.
set -euo pipefail
python="$1" schema=tests/golden/wire/schema.txtpb fresh="$(mktemp -d)"
buf="$(dirname "$python")/buf"
trap 'rm -rf "$fresh"' EXIT
"$buf" breaking --against "$schema" || { echo "old devices speak $schema: add fields, never change or delete one" >&2; exit 1; }
mkdir "$fresh/out"
"$python" -m grpc_tools.protoc -I protos --python_out="$fresh/out" --pyi_out="$fresh/out" --grpc_python_out="$fresh/out" protos/shoal/*/v1/*.proto
while read -r file; do
  cmp -s "$fresh/out/$file" "protos/$file" || { echo "protos/$file is not current: run make protos" >&2; exit 1; }
done < <(cd "$fresh/out" && find . -type f)
"$buf" build --exclude-source-info -o "$fresh/schema.txtpb"
cmp -s "$fresh/schema.txtpb" "$schema" || { echo "$schema is not current: run make protos" >&2; exit 1; }
