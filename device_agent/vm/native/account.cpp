#include "account.h"

#define PY_SSIZE_T_CLEAN
#include <Python.h>

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
[[maybe_unused]] constexpr unsigned kReclaimsPerTrim = 8;

void trim_now_and_then() {
#ifdef __GLIBC__
  static std::atomic<unsigned> reclaimed{0};
  if (++reclaimed % kReclaimsPerTrim == 0) malloc_trim(0);
#endif
}

struct Arena {
  Account* owner;
  size_t size;
};

struct Arenas {  // never destroyed: threads may outlive static destructors
  std::mutex mutex;
  std::unordered_map<void*, Arena> by_address;
  int64_t bytes = 0;
};

Arenas& arenas() {
  static Arenas* all = new Arenas;
  return *all;
}

thread_local Account* t_account __attribute__((tls_model("initial-exec"))) = nullptr;
thread_local bool t_exempt __attribute__((tls_model("initial-exec"))) = false;

PyMemAllocatorEx g_raw;
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

void charge(Account* account, int64_t bytes) {
  int64_t used = account->used_bytes.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  if (bytes <= 0) return;
  if (used > account->peak_bytes.load(std::memory_order_relaxed)) account->peak_bytes.store(used, std::memory_order_relaxed);
  int64_t soft = account->soft_bytes.load(std::memory_order_relaxed);
  if (soft != 0 && used > soft && !account->over.load(std::memory_order_relaxed) && !account->over.exchange(true)) g_on_over();
}

int64_t usable(void* block) { return block == nullptr ? 0 : static_cast<int64_t>(malloc_usable_size(block)); }

void note_map_node(Account* account, void* block) {
  std::lock_guard lock(account->mutex);
  account->map_nodes.insert(block);
}

void forget_map_node(Account* account, void* block, int64_t size) {
  if (size < static_cast<int64_t>(kMapNodeBytesMin)) return;
  std::lock_guard lock(account->mutex);
  account->map_nodes.erase(block);
}

void* raw_malloc(void*, size_t size) {
  Account* account = t_account;
  if (account == nullptr) return g_raw.malloc(g_raw.ctx, size);
  if (raw_refused(account, size)) return nullptr;
  void* block = g_raw.malloc(g_raw.ctx, size);
  charge(account, usable(block));
  return block;
}

void* raw_calloc(void*, size_t count, size_t size) {
  Account* account = t_account;
  if (account == nullptr) return g_raw.calloc(g_raw.ctx, count, size);
  if (size != 0 && count > static_cast<size_t>(PY_SSIZE_T_MAX) / size) return nullptr;
  if (raw_refused(account, count * size)) return nullptr;
  void* block = g_raw.calloc(g_raw.ctx, count, size);
  charge(account, usable(block));
  if (count == 1 && size >= kMapNodeBytesMin && (size & (size - 1)) == 0 && block != nullptr) note_map_node(account, block);
  return block;
}

void* raw_realloc(void*, void* old, size_t size) {
  Account* account = t_account;
  if (account == nullptr) return g_raw.realloc(g_raw.ctx, old, size);
  int64_t before = usable(old);
  forget_map_node(account, old, before);
  if (static_cast<int64_t>(size) > before || size > static_cast<size_t>(INT64_MAX)) {
    if (raw_refused(account, size)) return nullptr;  // the old block may have to stay while it is copied
  }
  void* block = g_raw.realloc(g_raw.ctx, old, size);
  if (block != nullptr) charge(account, usable(block) - before);
  return block;
}

void raw_free(void*, void* block) {
  if (t_account != nullptr) {
    int64_t size = usable(block);
    forget_map_node(t_account, block, size);
    charge(t_account, -size);
  }
  g_raw.free(g_raw.ctx, block);
}

void* arena_alloc(void*, size_t size) {
  Account* account = t_account;
  if (account == nullptr) return g_arena.alloc(g_arena.ctx, size);
  if (refused(account, static_cast<int64_t>(size), kHeadroomBytes)) return nullptr;
  void* address = g_arena.alloc(g_arena.ctx, size);
  if (address == nullptr) return nullptr;
  {
    std::lock_guard lock(arenas().mutex);
    arenas().by_address[address] = {account, size};
    arenas().bytes += static_cast<int64_t>(size);
  }
  charge(account, static_cast<int64_t>(size));
  return address;
}

void arena_free(void*, void* address, size_t size) {
  {
    std::lock_guard lock(arenas().mutex);
    auto found = arenas().by_address.find(address);
    if (found != arenas().by_address.end()) {
      charge(found->second.owner, -static_cast<int64_t>(size));
      arenas().bytes -= static_cast<int64_t>(size);
      arenas().by_address.erase(found);
    }
  }
  g_arena.free(g_arena.ctx, address, size);
}

}  // namespace

void charge_thread_to(Account* account, bool exempt) {
  t_account = account;
  t_exempt = exempt;
}

bool install_memory_hooks(void (*on_over)()) {
  if (g_on_over != nullptr) return false;
  g_on_over = on_over;
  arenas();
  PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &g_raw);
  PyObject_GetArenaAllocator(&g_arena);
  PyMemAllocatorEx raw{nullptr, raw_malloc, raw_calloc, raw_realloc, raw_free};
  PyObjectArenaAllocator arena{nullptr, arena_alloc, arena_free};
  PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &raw);
  PyObject_SetArenaAllocator(&arena);
  return true;
}

void reclaim(Account* account) {
  std::vector<std::pair<void*, size_t>> left;
  {
    std::lock_guard lock(arenas().mutex);
    auto& all = arenas().by_address;
    for (auto at = all.begin(); at != all.end();) {
      if (at->second.owner != account) {
        ++at;
        continue;
      }
      left.emplace_back(at->first, at->second.size);
      arenas().bytes -= static_cast<int64_t>(at->second.size);
      at = all.erase(at);
    }
  }
  for (auto [address, size] : left) g_arena.free(g_arena.ctx, address, size);
  {
    std::lock_guard lock(account->mutex);
    for (void* node : account->map_nodes) g_raw.free(g_raw.ctx, node);
    account->map_nodes.clear();
  }
  trim_now_and_then();
}

int64_t arena_bytes_mapped() {
  std::lock_guard lock(arenas().mutex);
  return arenas().bytes;
}

}  // namespace shoal
