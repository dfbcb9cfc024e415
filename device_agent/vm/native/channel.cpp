#include "channel.h"

#include <fcntl.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/eventfd.h>
#endif

namespace shoal {

Channel::Channel() {
#ifdef __linux__
  read_fd_ = write_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
#else
  int ends[2];
  if (pipe(ends) != 0) return;
  for (int end : ends) {
    fcntl(end, F_SETFD, FD_CLOEXEC);
    fcntl(end, F_SETFL, O_NONBLOCK);
  }
  read_fd_ = ends[0];
  write_fd_ = ends[1];
#endif
}

Channel::~Channel() {
  if (read_fd_ >= 0) close(read_fd_);
  if (write_fd_ >= 0 && write_fd_ != read_fd_) close(write_fd_);
}

void Channel::post(Message message) {
  bool first;
  {
    std::lock_guard lock(mutex_);
    first = messages_.empty();
    messages_.push_back(std::move(message));
  }
  uint64_t one = 1;
  if (first && write(write_fd_, &one, sizeof one) < 0) return;  // full means that it is readable already
}

void Channel::give_back(void* buffer) {
  std::lock_guard lock(mutex_);
  returned_.push_back(buffer);
}

std::vector<void*> Channel::take_returned() {
  std::vector<void*> taken;
  std::lock_guard lock(mutex_);
  taken.swap(returned_);
  return taken;
}

std::vector<Message> Channel::take() {
  char drop[64];
  while (read(read_fd_, drop, sizeof drop) == static_cast<ssize_t>(sizeof drop)) {
  }
  std::vector<Message> taken;
  std::lock_guard lock(mutex_);
  taken.swap(messages_);
  return taken;
}

}  // namespace shoal
