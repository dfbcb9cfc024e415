// One mapping of each model file in the process, whoever loads it: weights are shared by all VMs.
//
// A file is known by device, inode, size and time of change, so a file that was replaced is another file. Who keeps
// model files must replace them by rename and never write into them: a mapping sees such writes.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <system_error>
#include <tuple>

#include "model/model.h"

namespace shoal {

namespace {

using Identity = std::tuple<dev_t, ino_t, off_t, time_t, long>;

struct Cache {
  std::mutex mutex;
  std::map<Identity, std::weak_ptr<const Model>> models;
};

// Never destroyed: interpreters may end after static destructors have begun.
Cache& cache() {
  static Cache* const only = new Cache;
  return *only;
}

class Descriptor {
 public:
  explicit Descriptor(const char* path) : number_(::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (number_ < 0) throw std::system_error(errno, std::generic_category(), "cannot open the model file");
  }
  ~Descriptor() { ::close(number_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }

 private:
  int number_;
};

std::shared_ptr<std::byte> map_file(int descriptor, size_t size) {
  void* at = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (at == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "cannot map the model file");
  return {static_cast<std::byte*>(at), [size](std::byte* mapped) { ::munmap(mapped, size); }};
}

}  // namespace

std::shared_ptr<const Model> load_model(const char* path) {
  const Descriptor file(path);
  struct stat facts {};
  if (::fstat(file.number(), &facts) != 0)
    throw std::system_error(errno, std::generic_category(), "cannot read the model file");
  if (!S_ISREG(facts.st_mode) || facts.st_size <= 0 || static_cast<uint64_t>(facts.st_size) > file::file_bytes_max)
    throw ModelInvalid("a model is a file of 1 byte to 2 GiB; this is not one");
  const Identity identity{facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtim.tv_sec, facts.st_mtim.tv_nsec};
  Cache& shared = cache();
  const std::lock_guard lock(shared.mutex);  // a second loader of the same file waits for the first one's checks
  if (auto known = shared.models[identity].lock()) return known;
  std::erase_if(shared.models, [](const auto& entry) { return entry.second.expired(); });
  const auto size = static_cast<size_t>(facts.st_size);
  auto model = std::make_shared<const Model>(map_file(file.number(), size), size);
  shared.models[identity] = model;
  return model;
}

std::shared_ptr<const Model> parse_model(const void* bytes, size_t size) {
  if (size == 0 || size > file::file_bytes_max) throw ModelInvalid("a model has 1 byte to 2 GiB");
  std::shared_ptr<std::byte> copy = allocate(static_cast<int64_t>(size));
  std::memcpy(copy.get(), bytes, size);
  return std::make_shared<const Model>(std::move(copy), size);
}

}  // namespace shoal
