#include "session/session.h"

#include <chrono>
#include <cstring>

#include "tensor/run.h"

namespace shoal {

namespace {

void need(bool holds, const char* what) {
  if (!holds) throw PlanInvalid(std::string("the plan cannot be run (") + what + "); plan the model again");
}

}  // namespace

// What sessions of one plan over one file compute from constants: once for the process, charged to nobody, like the file.
struct Constants {
  std::shared_ptr<std::byte> plan, file, bytes;
  size_t plan_bytes;
  const Kernels* kernels;
  std::mutex computing;
  bool computed = false;
};

namespace {

struct ConstantsCache {
  std::mutex mutex;
  std::vector<std::weak_ptr<Constants>> entries;
};

// Never destroyed: interpreters may end after static destructors have begun.
ConstantsCache& constants_cache() {
  static ConstantsCache* const only = new ConstantsCache;
  return *only;
}

// The calling thread works for no run while one of these lives.
class Uncharged {
 public:
  Uncharged() : bounds_(bounds_here()) { work_for(nullptr); }
  ~Uncharged() { work_for(bounds_); }
  Uncharged(const Uncharged&) = delete;
  Uncharged& operator=(const Uncharged&) = delete;

 private:
  std::shared_ptr<RunBounds> bounds_;
};

}  // namespace

std::shared_ptr<Constants> Session::shared_constants(const Session& session) {
  const Uncharged uncharged;
  ConstantsCache& cache = constants_cache();
  const auto plan_bytes = static_cast<size_t>(session.header_.words) * 8;
  const std::lock_guard lock(cache.mutex);
  std::erase_if(cache.entries, [](const auto& entry) { return entry.expired(); });
  for (const auto& entry : cache.entries) {
    auto known = entry.lock();
    if (known && known->file == session.weights_.storage() && known->kernels == &session.kernels_ &&
        known->plan_bytes == plan_bytes && std::memcmp(known->plan.get(), session.plan_.get(), plan_bytes) == 0)
      return known;
  }
  auto made = std::make_shared<Constants>();
  made->plan = allocate(static_cast<int64_t>(plan_bytes));
  std::memcpy(made->plan.get(), session.plan_.get(), plan_bytes);
  made->file = session.weights_.storage();
  made->plan_bytes = plan_bytes;
  made->kernels = &session.kernels_;
  made->bytes = allocate(session.header_.kept_bytes, true);
  cache.entries.push_back(made);
  return made;
}

// Reads a plan word by word into a session.
class PlanReader {
 public:
  PlanReader(const void* words, size_t bytes, Session& session) : session_(session) {
    need(bytes >= sizeof(plan::Header) && bytes % 8 == 0 && bytes <= plan::words_max * 8, "its length is impossible");
    session_.plan_ = allocate(static_cast<int64_t>(bytes));
    std::memcpy(session_.plan_.get(), words, bytes);
    words_ = reinterpret_cast<const int64_t*>(session_.plan_.get());
    count_ = bytes / 8;
    std::memcpy(&session_.header_, words_, sizeof(plan::Header));
  }

  // Constants that another session of the same plan has computed, or room for them.
  void take_constants(const Constants& constants) { session_.kept_ = constants.bytes; }

  void read() {
    for (int64_t i = 0; i < header().tensors; ++i) read_tensor();
    for (int64_t i = 0; i < header().inputs; ++i) session_.inputs_.push_back(writable(next(), plan::Space::arena));
    for (int64_t i = 0; i < header().outputs; ++i) {
      const size_t tensor = index(next());
      need(tensors_[tensor].contiguous(), "an output has strides");
      session_.outputs_.push_back(tensors_[tensor]);
      session_.fixed_.push_back(spaces_[tensor] != plan::Space::arena);
    }
    for (int64_t i = 0; i < header().commands; ++i) read_command(i < header().prologue);
    need(at_ == literals_, "it has words left over");
  }

 private:
  const plan::Header& header() const { return session_.header_; }

 public:
  void read_header() {
    const plan::Header& h = header();
    need(h.magic == plan::magic && h.version == plan::version, "it is of another version");
    need(h.words == static_cast<int64_t>(count_), "its length is not what its header says");
    need(h.tensors >= 0 && h.tensors <= plan::tensors_max && h.commands >= 0 && h.commands <= plan::commands_max &&
             h.prologue >= 0 && h.prologue <= h.commands && h.inputs >= 0 && h.inputs <= h.tensors && h.outputs >= 0 &&
             h.outputs <= plan::tensors_max,
         "a count is impossible");
    need(h.arena_bytes >= 0 && h.arena_bytes <= tensor_bytes_max && h.kept_bytes >= 0 && h.kept_bytes <= tensor_bytes_max,
         "it needs more memory than a tensor may have");
    for (int64_t word : h.reserved) need(word == 0, "reserved words are set");
    const int64_t literal_words = (h.literal_bytes + 7) / 8;
    need(h.literal_bytes >= 0 && literal_words <= h.words - static_cast<int64_t>(plan::header_words), "its literals are cut");
    literals_ = count_ - static_cast<size_t>(literal_words);
    session_.arena_ = allocate(h.arena_bytes, true);
  }

 private:
  int64_t next() {
    need(at_ < literals_, "it is cut short");
    return words_[at_++];
  }

  size_t index(int64_t word) const {
    need(word >= 0 && word < static_cast<int64_t>(tensors_.size()), "it names no tensor");
    return static_cast<size_t>(word);
  }

  // Where a space begins, and how many bytes it has.
  std::pair<std::shared_ptr<std::byte>, int64_t> space(plan::Space which) const {
    switch (which) {
      case plan::Space::arena: return {session_.arena_, header().arena_bytes};
      case plan::Space::kept: return {session_.kept_, header().kept_bytes};
      case plan::Space::literal: {
        auto* literals = session_.plan_.get() + literals_ * 8;
        return {std::shared_ptr<std::byte>(session_.plan_, literals), header().literal_bytes};
      }
      default:
        need(which == plan::Space::weights, "a tensor lies in no space");
        return {std::shared_ptr<std::byte>(session_.weights_.storage(), session_.weights_.data()), session_.weights_.size()};
    }
  }

  void read_tensor() {
    const auto which = static_cast<plan::Space>(next());
    const int64_t offset = next(), dtype = next(), rank = next();
    need(dtype > 0 && dtype < 256 && is_dtype(static_cast<uint8_t>(dtype)) && rank >= 0 && rank <= rank_max,
         "a tensor has no known type");
    Spec spec{static_cast<Dtype>(dtype), {}};
    Dims strides;
    for (int64_t i = 0; i < rank_max; ++i) {
      const int64_t size = next();
      if (i < rank) spec.shape.push(size);
      else need(size == 0, "a size is set past the rank");
    }
    for (int64_t i = 0; i < rank_max; ++i) {
      const int64_t stride = next();
      if (i < rank) strides.push(stride);
    }
    need(spec.bytes() <= tensor_bytes_max, "a tensor is too big");
    const auto [start, bytes] = space(which);
    const int64_t item = size_of(spec.dtype);
    need(offset >= 0 && offset <= bytes && offset % item == 0, "a tensor lies outside its space");
    int64_t low = 0, high = 0;
    for (int i = 0; i < spec.shape.rank() && spec.shape[i] > 0; ++i) {
      int64_t reach = 0;
      need(!__builtin_mul_overflow(spec.shape[i] - 1, strides[i], &reach) &&
               !__builtin_add_overflow(reach < 0 ? low : high, reach, reach < 0 ? &low : &high),
           "a stride is impossible");
    }
    if (count_of(spec.shape) > 0)
      need(low >= -(offset / item) && high < (bytes - offset) / item, "a tensor reaches out of its space");
    tensors_.emplace_back(spec, strides, start, start.get() + offset);
    spaces_.push_back(which);
  }

  Tensor writable(int64_t word, plan::Space where) const {
    const size_t tensor = index(word);
    need(spaces_[tensor] == where && tensors_[tensor].contiguous(), "a result lies where nothing may be written");
    return tensors_[tensor];
  }

  // The bytes that a tensor's elements lie in; nothing for one without any.
  static std::pair<const std::byte*, const std::byte*> bytes_of(const Tensor& tensor) {
    if (tensor.size() == 0) return {tensor.data(), tensor.data()};
    int64_t low = 0, high = 0;
    for (int i = 0; i < tensor.rank(); ++i) {
      const int64_t reach = (tensor.shape()[i] - 1) * tensor.strides()[i];
      (reach < 0 ? low : high) += reach;
    }
    const int64_t item = size_of(tensor.dtype());
    return {tensor.data() + low * item, tensor.data() + (high + 1) * item};
  }

  // A command writes nothing that it reads, and no byte twice.
  static void check_apart(const Command& command) {
    for (size_t i = 0; i < command.outputs.size(); ++i) {
      const auto [begin, end] = bytes_of(command.outputs[i]);
      const auto apart = [&](const Tensor& other) {
        const auto [first, last] = bytes_of(other);
        need(last <= begin || end <= first || first == last || begin == end, "a command writes what it reads");
      };
      for (const Tensor& input : command.inputs) apart(input);
      for (size_t k = i + 1; k < command.outputs.size(); ++k) apart(command.outputs[k]);
    }
  }

  void read_command(bool prologue) {
    Command command;
    const int64_t id = next(), inputs = next(), outputs = next(), attributes = next();
    const auto room = static_cast<int64_t>(literals_ - at_);
    need(inputs >= 0 && outputs > 0 && attributes >= 0 && inputs <= room && outputs <= plan::outputs_max && attributes <= room,
         "a command has impossible counts");
    for (int64_t i = 0; i < inputs; ++i) {
      const size_t tensor = index(next());
      need(!prologue || spaces_[tensor] != plan::Space::arena, "a constant depends on an input");
      command.inputs.push_back(tensors_[tensor]);
    }
    for (int64_t i = 0; i < outputs; ++i)
      command.outputs.push_back(writable(next(), prologue ? plan::Space::kept : plan::Space::arena));
    check_apart(command);
    for (int64_t i = 0; i < attributes; ++i) command.op.attributes.push_back(next());
    if (id == plan::raster) read_raster(command);
    else if (id > plan::raster) read_kernel(id, command);
    else check_operator(id, command);
    session_.commands_.push_back(std::move(command));
  }

  void read_kernel(int64_t id, Command& command) const {
    command.call = kernel_call(id, command.op.attributes, command.inputs, command.outputs, session_.kernels_,
                               session_.pool_ ? session_.pool_->threads() : 1);
    need(command.call != nullptr, "it needs a kernel that is not here");
    command.op.attributes.clear();
  }

  void check_operator(int64_t id, Command& command) const {
    need(id > 0 && id < 65536 && row_of(static_cast<uint16_t>(id)) != nullptr, "it needs an operator that is not here");
    command.row = row_of(static_cast<uint16_t>(id));
    command.op.id = command.row->id;
    std::vector<Spec> given;
    for (const Tensor& input : command.inputs) given.push_back(input.spec());
    std::vector<Spec> made;
    try {
      check_form(command.op, given.size());
      made = infer_all(command.op, given);
    } catch (const std::runtime_error& error) {
      throw PlanInvalid(std::string("the plan cannot be run: ") + command.row->name + ": " + error.what());
    }
    need(made.size() == command.outputs.size(), "a command has another number of results");
    for (size_t i = 0; i < made.size(); ++i)
      if (!(made[i] == command.outputs[i].spec()))
        throw PlanInvalid(std::string("the plan cannot be run: ") + command.row->name + " makes " + text_of(made[i].shape) +
                          ", not " + text_of(command.outputs[i].shape()));
  }

  static void check_view(int64_t offset, const std::array<int64_t, 3>& strides, const std::array<int64_t, 3>& sizes,
                         int64_t count) {
    int64_t low = offset, high = offset;
    for (size_t i = 0; i < 3; ++i) {
      int64_t reach = 0;
      need(!__builtin_mul_overflow(sizes[i] - 1, strides[i], &reach) &&
               !__builtin_add_overflow(reach < 0 ? low : high, reach, reach < 0 ? &low : &high),
           "a region's stride is impossible");
    }
    need(low >= 0 && high < count, "a region reaches out of its tensor");
  }

  void read_raster(Command& command) const {
    const std::vector<int64_t>& words = command.op.attributes;
    need(words.size() >= 3 && command.outputs.size() == 1, "a raster is cut short");
    const Tensor& out = command.outputs[0];
    const int64_t regions = words[2];
    need(regions >= 0 && regions <= plan::regions_max &&
             words.size() == 3 + static_cast<size_t>(regions) * plan::region_words,
         "a raster has another number of regions");
    command.raster.fill = words[0] != 0;
    command.raster.bits = static_cast<uint64_t>(words[1]);
    for (size_t at = 3; at < words.size(); at += plan::region_words) {
      const int64_t* w = words.data() + at;
      need(w[0] >= 0 && w[0] < static_cast<int64_t>(command.inputs.size()), "a region reads no tensor");
      const Region region{static_cast<size_t>(w[0]), w[1], w[5], {w[2], w[3], w[4]}, {w[6], w[7], w[8]}, {w[9], w[10], w[11]}};
      for (int64_t size : region.sizes) need(size > 0 && size <= tensor_bytes_max, "a region has an impossible size");
      const Tensor& in = command.inputs[region.input];
      need(in.contiguous() && size_of(in.dtype()) == size_of(out.dtype()), "a raster reads elements of another size");
      check_view(region.source, region.source_strides, region.sizes, in.size());
      check_view(region.destination, region.destination_strides, region.sizes, out.size());
      command.raster.regions.push_back(region);
    }
    command.op.attributes.clear();
    if (session_.pool_ != nullptr) cut_regions(command.raster, session_.pool_->threads());
  }

  Session& session_;
  const int64_t* words_ = nullptr;
  size_t count_ = 0, at_ = plan::header_words, literals_ = 0;
  std::vector<Tensor> tensors_;
  std::vector<plan::Space> spaces_;
};

Session::Session(const void* words, size_t bytes, const Tensor& weights, const Kernels& kernels, int threads)
    : kernels_(kernels), pool_(threads > 1 ? std::make_unique<Pool>(threads) : nullptr), weights_(weights) {
  if (weights.dtype() != Dtype::uint8 || !weights.contiguous()) throw DtypeError("a session's weights are a file's bytes");
  try {
    PlanReader reader(words, bytes, *this);
    reader.read_header();
    constants_ = shared_constants(*this);
    reader.take_constants(*constants_);
    reader.read();
  } catch (const ValueError& error) {  // a shape that cannot be
    throw PlanInvalid(std::string("the plan cannot be run: ") + error.what());
  }
  const auto prologue = commands_.begin() + static_cast<std::ptrdiff_t>(header_.prologue);
  {
    const std::lock_guard lock(constants_->computing);  // a second session of the plan waits for the first one's
    if (!constants_->computed) {
      KillWatch watch;
      for (auto command = commands_.begin(); command != prologue; ++command) {
        watch.look();
        execute(*command);
      }
      watch.look();
      constants_->computed = true;
    }
  }
  commands_.erase(commands_.begin(), prologue);
}

void Session::execute(const Command& command) const {
  if (command.row != nullptr) return execute_all(*command.row, command.op, command.inputs, command.outputs, kernels_);
  const auto& bounds = bounds_here();
  const Run run{kernels_, pool_.get(), bounds == nullptr ? nullptr : &bounds->cancelled};
  if (!command.call) run_raster(command.raster, command.inputs, command.outputs[0], run);
  else command.call(run);
}

void Session::take(Tensors inputs) {
  if (inputs.size() != inputs_.size())
    throw ValueError("the session takes " + std::to_string(inputs_.size()) + " inputs, not " + std::to_string(inputs.size()));
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!(inputs[i].spec() == inputs_[i].spec()))
      throw ValueError("input " + std::to_string(i) + " of the session is " + name_of(inputs_[i].dtype()) + " of shape " +
                       text_of(inputs_[i].shape()) + ", not " + name_of(inputs[i].dtype()) + " of " +
                       text_of(inputs[i].shape()));
    copy_elements(inputs[i], inputs_[i]);
  }
}

std::vector<Tensor> Session::run(Tensors inputs) {
  const std::lock_guard lock(running_);
  take(inputs);
  KillWatch watch;
  for (const Command& command : commands_) {
    watch.look();
    execute(command);
  }
  watch.look();  // what was cut short is no result
  std::vector<Tensor> out;
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (fixed_[i]) {
      out.push_back(outputs_[i]);
      continue;
    }
    out.emplace_back(outputs_[i].spec());
    copy_elements(outputs_[i], out.back());
  }
  return out;
}

std::vector<int64_t> Session::profile(Tensors inputs) {
  const std::lock_guard lock(running_);
  take(inputs);
  std::vector<int64_t> out;
  for (const Command& command : commands_) {
    const auto start = std::chrono::steady_clock::now();
    execute(command);
    out.push_back(std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count());
  }
  return out;
}

}  // namespace shoal
