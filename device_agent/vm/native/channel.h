// What comes back from VMs: one queue, and a file descriptor that an event loop watches.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace shoal {

enum class Happened { ready, done, ended, asked };  // asked: `outcome` says what, the one emit carries it

struct Message {
  uint64_t vm = 0;
  Happened happened = Happened::done;
  uint64_t run = 0;
  std::string outcome;
  std::string text;
  std::vector<std::pair<std::string, std::string>> emits;
  std::vector<std::string> logs;
  int64_t wall_us = 0;
  bool spent = false;  // the VM takes no more runs
};

class Channel {
 public:
  Channel();
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  bool valid() const { return read_fd_ >= 0; }
  int fd() const { return read_fd_; }
  void post(Message message);
  std::vector<Message> take();

  // Buffers of the main interpreter that nobody reads any more; see lent.h.
  void give_back(void* buffer);
  std::vector<void*> take_returned();

 private:
  std::mutex mutex_;
  std::vector<Message> messages_;
  std::vector<void*> returned_;
  int read_fd_ = -1;
  int write_fd_ = -1;
};

}  // namespace shoal
