// What is done once per process, before the first VM.
#pragma once

#include <string>
#include <vector>

#include "guest.h"

namespace shoal {

// Hooks, audit, eventless template, timekeeper. Call it on the main interpreter's main thread. False with an exception set.
bool install(int64_t grace_ns);
bool installed();

// Gives VMs `encodings` from memory, so that their creation reads no file. `modules`: name, marshalled code, package.
struct Frozen {
  std::string name;
  std::string code;
  bool package;
};
void freeze(std::vector<Frozen> modules);

}  // namespace shoal
