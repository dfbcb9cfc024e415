// Numbers below 1e-38 that no float holds in its usual form: processors take a hundred cycles for each. While one of these
// lives the calling thread reads and makes zeros instead. Interpreters share the thread, so it puts back what it found.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace shoal {

class FlushDenormals {
 public:
  FlushDenormals() : before_(mode()) { set_mode(before_ | flush); }
  ~FlushDenormals() { set_mode(before_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
#if defined(__x86_64__)
  using Mode = unsigned;
  static constexpr Mode flush = 0x8040;  // results to zero, operands as zero
  static Mode mode() { return _mm_getcsr(); }
  static void set_mode(Mode mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
  using Mode = uint64_t;
  static constexpr Mode flush = 1U << 24;
  static Mode mode() {
    Mode mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }
  static void set_mode(Mode mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#else
  using Mode = unsigned;
  static constexpr Mode flush = 0;
  static Mode mode() { return 0; }
  static void set_mode(Mode) {}
#endif

  Mode before_;
};

struct Unflushed {
  Unflushed() {}
  ~Unflushed() {}
};

}  // namespace shoal
