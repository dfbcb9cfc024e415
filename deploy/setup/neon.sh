#!/bin/bash
# neon.sh FOLDER: builds the kernels for 64-bit ARM in FOLDER and runs tests/native/levels.cpp under qemu. Needs Debian's
# g++-aarch64-linux-gnu and qemu-user.
set -euo pipefail
folder="$1" native=device_agent/engine/native
for tool in aarch64-linux-gnu-g++ qemu-aarch64; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install g++-aarch64-linux-gnu qemu-user" >&2; exit 1; }
done
mkdir -p "$folder"
flags=(-O2 -std=c++20 -fwrapv -fno-strict-aliasing -ffp-contract=fast -fno-math-errno -Wno-psabi -Wall -Wextra -Wpedantic
  -Werror "-I$native")
objects=()
for source in "$native"/kernels/*.cpp "$native"/threads/*.cpp tests/native/levels.cpp; do
  object="$folder/$(basename "$source" .cpp).o"
  objects+=("$object")
  # What a source includes is not looked at: this is run from nothing, at night.
  aarch64-linux-gnu-g++ "${flags[@]}" -c "$source" -o "$object"
done
aarch64-linux-gnu-g++ "${objects[@]}" -static -pthread -o "$folder/levels"
qemu-aarch64 "$folder/levels"
