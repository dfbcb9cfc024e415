// One mapping of each model file in the process, whoever loads it: weights are shared by all VMs.
//
// A file is known by device, inode, size and time of change, so a file that was replaced is another file. Who keeps
// model files must replace them by rename and never write into them: a mapping sees such writes.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <map>
#include <mutex>
#include <system_error>
#include <tuple>

#include "model/crc32.h"
#include "model/model.h"
#include "ops/op.h"
#include "tensor/run.h"

namespace shoal {

namespace {

using Identity = std::tuple<dev_t, ino_t, off_t, time_t, long>;

struct Cache {
  std::mutex mutex;
  std::map<Identity, std::weak_ptr<std::byte>> files;
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

void need(bool holds, const char* what) {
  if (!holds) throw ModelInvalid(std::string("the model file is damaged (") + what + "); fetch or compile it again");
}

uint32_t checksum_of(const std::byte* bytes, size_t size) {
  constexpr size_t at = offsetof(file::Header, checksum);
  const uint32_t zero = 0;
  uint32_t crc = crc32(0, bytes, at);
  crc = crc32(crc, &zero, sizeof(zero));
  const std::byte* const rest = bytes + at + sizeof(zero);
  in_pieces(static_cast<int64_t>(size - at - sizeof(zero)),
            [&](int64_t from, int64_t count) { crc = crc32(crc, rest + from, static_cast<size_t>(count)); });
  return crc;
}

// All of a file that does not need its graph to be read.
void check(const std::byte* bytes, size_t size) {
  file::Header header;
  need(size >= sizeof(header), "it is shorter than a header");
  std::memcpy(&header, bytes, sizeof(header));
  need(std::memcmp(header.magic, file::magic, sizeof(file::magic)) == 0, "it does not start as a model does");
  if (header.version != file::version)
    throw ModelUnsupported("model file version " + std::to_string(header.version) + " is not " +
                           std::to_string(file::version) + "; compile the model for this engine");
  need(header.op_set > 0, "it is of no op set");
  if (header.op_set > op_set)
    throw ModelUnsupported("the model needs op set " + std::to_string(header.op_set) + ", this engine has " +
                           std::to_string(op_set) + "; compile the model for this engine");
  need(header.file_bytes == size, "its length is not what its header says");
  constexpr uint8_t zeros[sizeof(header.reserved)] = {};
  need(header.flags == 0 && std::memcmp(header.reserved, zeros, sizeof(zeros)) == 0, "reserved bits are set");
  need(header.graph_bytes <= size - sizeof(header) && header.weights_start <= size && header.weights_start % alignment == 0 &&
           header.weights_start >= sizeof(header) + header.graph_bytes,
       "its parts do not fit");
  need(checksum_of(bytes, size) == header.checksum, "its checksum does not match");
}

Tensor lent(const std::shared_ptr<std::byte>& bytes, size_t size) {
  return {{Dtype::uint8, {static_cast<int64_t>(size)}}, bytes, bytes.get()};
}

}  // namespace

Tensor map_model(const char* path) {
  const Descriptor file(path);
  struct stat facts {};
  if (::fstat(file.number(), &facts) != 0)
    throw std::system_error(errno, std::generic_category(), "cannot read the model file");
  if (!S_ISREG(facts.st_mode) || facts.st_size <= 0 || static_cast<uint64_t>(facts.st_size) > file::file_bytes_max)
    throw ModelInvalid("a model is a file of 1 byte to 2 GiB; this is not one");
  const Identity identity{facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtim.tv_sec, facts.st_mtim.tv_nsec};
  Cache& shared = cache();
  const auto size = static_cast<size_t>(facts.st_size);
  const std::lock_guard lock(shared.mutex);  // a second loader of the same file waits for the first one's checks
  if (auto known = shared.files[identity].lock()) return lent(known, size);
  std::erase_if(shared.files, [](const auto& entry) { return entry.second.expired(); });
  auto bytes = map_file(file.number(), size);
  check(bytes.get(), size);
  shared.files[identity] = bytes;
  return lent(bytes, size);
}

Tensor check_model(const void* bytes, size_t size) {
  if (size == 0 || size > file::file_bytes_max) throw ModelInvalid("a model has 1 byte to 2 GiB");
  check(static_cast<const std::byte*>(bytes), size);
  const std::shared_ptr<std::byte> copy = allocate(static_cast<int64_t>(size));
  std::memcpy(copy.get(), bytes, size);
  return lent(copy, size);
}

}  // namespace shoal
