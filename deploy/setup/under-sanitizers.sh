#!/bin/bash
# under-sanitizers.sh CMD...: runs it with the sanitizers loaded first, on plain malloc, so that each block has its redzones.
# Leaks are not looked for: an interpreter that ends leaves some, and the soak measures them. A finding ends the process.
set -euo pipefail
library() { "${CXX:-g++}" -print-file-name="$1"; }
export LD_PRELOAD="$(library libasan.so) $(library libstdc++.so.6)"
export PYTHONMALLOC=malloc
export ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:allocator_may_return_null=1:detect_stack_use_after_return=0"
export UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1"
exec "$@"
