// Which levels this machine can run. Compiled without any level's flags: it must run everywhere.
#include <cstring>

#include "kernels/kernels.h"

namespace shoal {

const char* name_of(Level level) {
  switch (level) {
    case Level::portable: return "portable";
    case Level::avx2: return "avx2";
    case Level::avx512: return "avx512";
    case Level::neon: return "neon";
  }
  return "";
}

bool runs_here(Level level) {
  switch (level) {
    case Level::portable: return true;
    case Level::neon: return neon_kernels() != nullptr;
#if defined(__x86_64__)
    case Level::avx2:
      return avx2_kernels() != nullptr && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("f16c");
    case Level::avx512:
      return avx512_kernels() != nullptr && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && runs_here(Level::avx2);
#endif
    default: return false;
  }
}

const Kernels& best_kernels() {
  static const Kernels& best = runs_here(Level::avx512) ? *avx512_kernels()
                               : runs_here(Level::avx2) ? *avx2_kernels()
                               : runs_here(Level::neon) ? *neon_kernels()
                                                        : *portable_kernels();
  return best;
}

const Kernels* kernels_named(const char* name) {
  if (std::strcmp(name, "portable") == 0) return portable_kernels();
  if (std::strcmp(name, "avx2") == 0 && runs_here(Level::avx2)) return avx2_kernels();
  if (std::strcmp(name, "avx512") == 0 && runs_here(Level::avx512)) return avx512_kernels();
  if (std::strcmp(name, "neon") == 0 && runs_here(Level::neon)) return neon_kernels();
  return nullptr;
}

}  // namespace shoal
