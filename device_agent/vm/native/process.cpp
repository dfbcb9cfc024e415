#include "process.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>

#include "account.h"
#include "keeper.h"

namespace shoal {
namespace {

bool g_installed = false;

using GetConfig = int (*)(PyConfig*);
using SetConfig = int (*)(const PyConfig*);

// sys.flags is filled in place, so its values are put back one by one: children of this process inherit them.
void restore_flags(PyObject* flags, PyObject* values) {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(values); ++i) PyStructSequence_SetItem(flags, i, Py_NewRef(PyTuple_GET_ITEM(values, i)));
}

// A new interpreter copies the main one's configuration. What a guest must not inherit leaves it here: site with its
// .pth files, the module search path, warning and -X options. `sys` of the main interpreter is put back as it was.
bool strip_configuration(GetConfig get, SetConfig set) {
  PyObject* sys = PyImport_ImportModule("sys");
  PyObject* names = sys == nullptr ? nullptr : PyModule_GetDict(sys);
  PyObject* saved = names == nullptr ? nullptr : PyDict_Copy(names);
  PyObject* flags = saved == nullptr ? nullptr : PyDict_GetItemString(saved, "flags");
  PyObject* values = flags == nullptr ? nullptr : PyTuple_GetSlice(flags, 0, PyTuple_GET_SIZE(flags));
  PyConfig config;
  PyConfig_InitPythonConfig(&config);
  bool done = values != nullptr && get(&config) == 0;
  if (done) {
    config.site_import = 0;
    config.user_site_directory = 0;
    config.parse_argv = 0;
    config.module_search_paths_set = 1;
    done = !PyStatus_Exception(PyConfig_SetWideStringList(&config, &config.module_search_paths, 0, nullptr)) &&
           !PyStatus_Exception(PyConfig_SetWideStringList(&config, &config.warnoptions, 0, nullptr)) &&
           !PyStatus_Exception(PyConfig_SetWideStringList(&config, &config.xoptions, 0, nullptr)) &&
           !PyStatus_Exception(PyConfig_SetString(&config, &config.home, config.base_prefix)) && set(&config) == 0;
    restore_flags(flags, values);
    done = PyDict_Update(names, saved) == 0 && done;
  }
  PyConfig_Clear(&config);
  Py_XDECREF(values);
  Py_XDECREF(saved);
  Py_XDECREF(sys);
  return done;
}

bool strip_template() {
  auto get = reinterpret_cast<GetConfig>(dlsym(RTLD_DEFAULT, "_PyInterpreterState_GetConfigCopy"));
  auto set = reinterpret_cast<SetConfig>(dlsym(RTLD_DEFAULT, "_PyInterpreterState_SetConfig"));
  if (get == nullptr || set == nullptr) return true;  // slower to create, and the glue still closes the path
  return strip_configuration(get, set);
}

}  // namespace

bool install(int64_t grace_ns) {
  if (g_installed) return true;
  if (!install_memory_hooks(poke_timekeeper)) return false;
  if (PySys_AddAuditHook(audit, nullptr) < 0 || !strip_template()) return false;
  start_timekeeper(grace_ns);
  g_installed = true;
  return true;
}

bool installed() { return g_installed; }

namespace {

// CPython takes the rows of its own bootstrap table first; ours stand in for those of the same name. A CPython that
// does not export the table makes VMs all the same, only slower.
void replace_bootstrap(const std::vector<_frozen>& ours) {
  auto** table = static_cast<const _frozen**>(dlsym(RTLD_DEFAULT, "_PyImport_FrozenBootstrap"));
  if (table == nullptr) return;
  auto* rows = new std::vector<_frozen>;
  for (const _frozen* row = *table; row->name != nullptr; ++row) {
    auto same = std::find_if(ours.begin(), ours.end(), [&](const _frozen& one) { return one.name != nullptr && std::strcmp(one.name, row->name) == 0; });
    rows->push_back(same == ours.end() ? *row : *same);
  }
  rows->push_back({nullptr, nullptr, 0, 0});
  *table = rows->data();
}

}  // namespace

void freeze(std::vector<Frozen> modules) {
  if (PyImport_FrozenModules != nullptr) return;
  auto* kept = new std::vector<Frozen>(std::move(modules));  // CPython points into it for as long as the process lives
  auto* rows = new std::vector<_frozen>;
  for (const Frozen& one : *kept) {
    rows->push_back({one.name.c_str(), reinterpret_cast<const unsigned char*>(one.code.data()), static_cast<int>(one.code.size()), one.package});
  }
  rows->push_back({nullptr, nullptr, 0, 0});
  PyImport_FrozenModules = rows->data();
  replace_bootstrap(*rows);
}

}  // namespace shoal
