#!/bin/bash
# console.sh VENV FOLDER [SCRIPT]: builds the console, or runs a script of its package.json, with the machine's Node when
# it is new enough, else with the environment's.
set -euo pipefail
venv="$(cd "$1" && pwd)" folder="$2" script="${3:-build}"

# What Vite asks for: 20.19 or newer of 20, 22.12 or newer.
fits() {
  local version major minor
  version="$("$1" --version 2>/dev/null)" || return 1
  IFS=. read -r major minor _ <<<"${version#v}"
  { [ "$major" -eq 20 ] && [ "$minor" -ge 19 ]; } || { [ "$major" -eq 22 ] && [ "$minor" -ge 12 ]; } || [ "$major" -ge 23 ]
}

if fits node && command -v npm >/dev/null; then
  :
elif fits "$venv/bin/node"; then
  PATH="$venv/bin:$PATH"
else
  echo "shoal: no Node 20.19 or newer; install one, or run 'make setup' again to get it from PyPI" >&2
  exit 1
fi
cd "$folder"
# Standard output is make's; what npm has to say matters only when it fails.
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
# What npm installed says which lock file it was; the same one needs nothing.
packages() {
  [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-progress
}
if ! { packages && npm run "$script"; } >"$log" 2>&1; then
  cat "$log" >&2
  echo "shoal: npm run $script failed in $folder; what it said stands above" >&2
  exit 1
fi
