#!/bin/bash
# Makes sure that the programs of the tests are here: PostgreSQL 15 or newer, Redis, Chromium and espeak-ng, from Debian's
# packages.
set -euo pipefail
missing=()
compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || missing+=(postgresql)
command -v redis-server >/dev/null || missing+=(redis-server)
command -v chromium >/dev/null || missing+=(chromium)
command -v espeak-ng >/dev/null || missing+=(espeak-ng)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "shoal: the tests need ${missing[*]}; installing needs root. Run: sudo apt-get install ${missing[*]}" >&2
  exit 2
fi
echo "shoal: installing ${missing[*]} from Debian's packages (as root)" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
