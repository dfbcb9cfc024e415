#include "account.h"

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

#ifdef __APPLE__
#include <malloc/malloc.h>
#define malloc_usable_size malloc_size
#else
#include <malloc.h>
#endif

namespace shoal {
namespace {

constexpr size_t kMapNodeBytesMin = 64 * 1024;
constexpr uintptr_t kPageMask = 4095;
[[maybe_unused]] constexpr unsigned kReclaimsPerTrim = 8;

void trim_now_and_then() {
#ifdef __GLIBC__
  static std::atomic<unsigned> reclaimed{0};
  if (++reclaimed % kReclaimsPerTrim == 0) malloc_trim(0);
#endif
}

struct Mapping {
  Account* owner;
  size_t size;
};

struct Mappings {  // never destroyed: threads may outlive static destructors
  std::mutex mutex;
  std::unordered_map<void*, Mapping> by_address;
  int64_t bytes = 0;

  void add(void* address, Account* owner, size_t size) {
    std::lock_guard lock(mutex);
    by_address[address] = {owner, size};
    bytes += static_cast<int64_t>(size);
  }

  // Strikes it off and tells its owner's account; how big it was, 0 if it is none of ours.
  size_t take(void* address);

  // Strikes off all that `owner` has.
  std::vector<std::pair<void*, size_t>> take_all(const Account* owner) {
    std::vector<std::pair<void*, size_t>> taken;
    std::lock_guard lock(mutex);
    std::erase_if(by_address, [&](const auto& one) {
      if (one.second.owner != owner) return false;
      taken.emplace_back(one.first, one.second.size);
      bytes -= static_cast<int64_t>(one.second.size);
      return true;
    });
    return taken;
  }
};

Mappings& arenas() {
  static Mappings* all = new Mappings;
  return *all;
}

Mappings& map_nodes() {
  static Mappings* all = new Mappings;
  return *all;
}

thread_local Account* t_account __attribute__((tls_model("initial-exec"))) = nullptr;
thread_local bool t_exempt __attribute__((tls_model("initial-exec"))) = false;

PyMemAllocatorEx g_raw, g_memory, g_object;  // what our hooks stand before; each hook's context is one of them
PyObjectArenaAllocator g_arena;
void (*g_on_over)() = nullptr;

bool refused(Account* account, int64_t size, int64_t headroom) {
  int64_t soft = account->soft_bytes.load(std::memory_order_relaxed);
  if (soft == 0 || t_exempt) return false;
  return account->used_bytes.load(std::memory_order_relaxed) + size > soft + headroom;
}

bool raw_refused(Account* account, size_t size) {
  if (size > static_cast<size_t>(INT64_MAX) / 2) return true;
  int64_t wanted = static_cast<int64_t>(size);
  return refused(account, wanted, wanted >= kBigRequestBytes ? 0 : kHeadroomBytes);
}

int64_t usable(void* block) { return block == nullptr ? 0 : static_cast<int64_t>(malloc_usable_size(block)); }

size_t Mappings::take(void* address) {
  std::lock_guard lock(mutex);
  auto found = by_address.find(address);
  if (found == by_address.end()) return 0;
  auto [owner, size] = found->second;
  charge(owner, -static_cast<int64_t>(size));
  bytes -= static_cast<int64_t>(size);
  by_address.erase(found);
  return size;
}

// malloc's blocks stand behind a header, so hardly any begins a page: the table is rarely asked.
bool maybe_map_node(void* block) { return block != nullptr && (reinterpret_cast<uintptr_t>(block) & kPageMask) == 0; }

void* new_map_node(Account* account, size_t size) {
  void* node = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (node == MAP_FAILED) return nullptr;
  map_nodes().add(node, account, size);
  charge(account, static_cast<int64_t>(size));
  return node;
}

size_t size_of_map_node(void* block) {
  std::lock_guard lock(map_nodes().mutex);
  auto found = map_nodes().by_address.find(block);
  return found == map_nodes().by_address.end() ? 0 : found->second.size;
}

bool free_map_node(void* block) {
  size_t size = map_nodes().take(block);
  if (size != 0) munmap(block, size);
  return size != 0;
}

const PyMemAllocatorEx& before(void* context) { return *static_cast<PyMemAllocatorEx*>(context); }

void* block_malloc(void* context, size_t size) {
  const PyMemAllocatorEx& next = before(context);
  Account* account = t_account;
  if (account == nullptr) return next.malloc(next.ctx, size);
  if (raw_refused(account, size)) return nullptr;
  void* block = next.malloc(next.ctx, size);
  charge(account, usable(block));
  return block;
}

void* block_calloc(void* context, size_t count, size_t size) {
  const PyMemAllocatorEx& next = before(context);
  Account* account = t_account;
  if (account == nullptr) return next.calloc(next.ctx, count, size);
  if (size != 0 && count > static_cast<size_t>(PY_SSIZE_T_MAX) / size) return nullptr;
  if (raw_refused(account, count * size)) return nullptr;
  bool node = context == &g_raw && count == 1 && size >= kMapNodeBytesMin && (size & (size - 1)) == 0;
  if (node) return new_map_node(account, size);
  void* block = next.calloc(next.ctx, count, size);
  charge(account, usable(block));
  return block;
}

// CPython moves none; the rule of realloc is kept all the same.
void* move_map_node(void* context, void* old, size_t had, size_t size) {
  void* block = block_malloc(context, size);
  if (block == nullptr) return nullptr;
  std::memcpy(block, old, std::min(had, size));
  free_map_node(old);
  return block;
}

void* block_realloc(void* context, void* old, size_t size) {
  const PyMemAllocatorEx& next = before(context);
  if (maybe_map_node(old)) {
    if (size_t had = size_of_map_node(old); had != 0) return move_map_node(context, old, had, size);
  }
  Account* account = t_account;
  if (account == nullptr) return next.realloc(next.ctx, old, size);
  int64_t bytes = usable(old);
  if (static_cast<int64_t>(size) > bytes || size > static_cast<size_t>(INT64_MAX)) {
    if (raw_refused(account, size)) return nullptr;  // the old block may have to stay while it is copied
  }
  void* block = next.realloc(next.ctx, old, size);
  if (block != nullptr) charge(account, usable(block) - bytes);
  return block;
}

void block_free(void* context, void* block) {
  const PyMemAllocatorEx& next = before(context);
  if (maybe_map_node(block) && free_map_node(block)) return;
  if (t_account != nullptr) charge(t_account, -usable(block));
  next.free(next.ctx, block);
}

void* arena_alloc(void*, size_t size) {
  Account* account = t_account;
  if (account == nullptr) return g_arena.alloc(g_arena.ctx, size);
  if (refused(account, static_cast<int64_t>(size), kHeadroomBytes)) return nullptr;
  void* address = g_arena.alloc(g_arena.ctx, size);
  if (address == nullptr) return nullptr;
  arenas().add(address, account, size);
  charge(account, static_cast<int64_t>(size));
  return address;
}

void arena_free(void*, void* address, size_t size) {
  arenas().take(address);
  g_arena.free(g_arena.ctx, address, size);
}

void stand_before(PyMemAllocatorDomain domain, PyMemAllocatorEx* next) {
  PyMem_GetAllocator(domain, next);
  PyMemAllocatorEx ours{next, block_malloc, block_calloc, block_realloc, block_free};
  PyMem_SetAllocator(domain, &ours);
}

}  // namespace

void charge(Account* account, int64_t bytes) {
  int64_t used = account->used_bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  if (bytes <= 0) return;
  if (used > account->peak_bytes.load(std::memory_order_relaxed)) account->peak_bytes.store(used, std::memory_order_relaxed);
  int64_t soft = account->soft_bytes.load(std::memory_order_relaxed);
  if (soft != 0 && used > soft && !account->over.load(std::memory_order_relaxed) && !account->over.exchange(true)) g_on_over();
}

void charge_thread_to(Account* account, bool exempt) {
  t_account = account;
  t_exempt = exempt;
}

bool install_memory_hooks(void (*on_over)()) {
  if (g_on_over != nullptr) return false;
  g_on_over = on_over;
  arenas(), map_nodes();
  PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &g_raw);
  PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &g_object);
  PyObject_GetArenaAllocator(&g_arena);
  auto* plain = g_raw.malloc;
  PyObjectArenaAllocator arena{nullptr, arena_alloc, arena_free};
  PyObject_SetArenaAllocator(&arena);
  stand_before(PYMEM_DOMAIN_RAW, &g_raw);
  if (g_object.malloc != plain) return true;
  // PYTHONMALLOC=malloc: there are no arenas, each object is a block of malloc's own.
  stand_before(PYMEM_DOMAIN_MEM, &g_memory);
  stand_before(PYMEM_DOMAIN_OBJ, &g_object);
  return true;
}

void reclaim(Account* account) {
  int64_t bytes = 0;
  for (auto [address, size] : arenas().take_all(account)) {
    g_arena.free(g_arena.ctx, address, size);
    bytes += static_cast<int64_t>(size);
  }
  for (auto [address, size] : map_nodes().take_all(account)) {
    munmap(address, size);
    bytes += static_cast<int64_t>(size);
  }
  charge(account, -bytes);  // what is left is what CPython forgot to free
  trim_now_and_then();
}

int64_t arena_bytes_mapped() {
  std::lock_guard lock(arenas().mutex);
  return arenas().bytes;
}

}  // namespace shoal
