// The guest's side: the `_shoal` module inside a VM, the table of modules it may import, and its boot.
#pragma once

#include <string>
#include <unordered_map>

#include "vm.h"

namespace shoal {

inline constexpr const char kGlueFile[] = "<shoal>";

enum class Kind { python, extension, builtin };

struct Importable {
  Kind kind;
  bool package = false;
  std::string body;  // python: marshalled code; extension: path of the file
};

using ModuleTable = std::unordered_map<std::string, Importable>;

// Sets what every VM may import, and the glue that boots it (marshalled code). Once per process; false after that.
bool set_module_table(ModuleTable table, std::string glue);

// Makes `_shoal`, runs the glue, and keeps its functions in `vm`; false with the reason otherwise.
bool boot_guest(Vm& vm, std::string* why);

// Turns what was printed without a newline into a log line.
void end_line(Vm& vm);

std::string cut_utf8(std::string text, size_t bytes_max);

// The audit hook of the process: refuses what a guest may not do, and fork while VMs live (rule K5).
int audit(const char* event, PyObject* args, void*);

}  // namespace shoal
