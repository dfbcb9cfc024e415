// Reads a model file and checks it completely: format.h says the layout, this file refuses all else.
#include <cstring>
#include <unordered_set>

#include "model/crc32.h"
#include "model/model.h"

namespace shoal {

namespace {

void need(bool holds, const char* what) {
  if (!holds) throw ModelInvalid(std::string("the model file is damaged (") + what + "); fetch or compile it again");
}

uint64_t padded(uint64_t bytes, uint64_t to) { return (bytes + to - 1) / to * to; }

// Strict UTF-8, as Python reads it: shortest forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at++]);
    if (lead < 0x80) continue;
    const int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    uint32_t point = lead & (0x3Fu >> more);
    if (lead < 0xC2 || lead > 0xF4 || text.size() - at < static_cast<size_t>(more)) return false;
    for (int i = 0; i < more; ++i, ++at) {
      const auto next = static_cast<unsigned char>(text[at]);
      if ((next & 0xC0) != 0x80) return false;
      point = (point << 6) | (next & 0x3Fu);
    }
    constexpr uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (point < least[more] || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) return false;
  }
  return true;
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

}  // namespace

class Reader {
 public:
  Reader(std::shared_ptr<std::byte> bytes, size_t size, Model& model)
      : bytes_(std::move(bytes)), size_(size), model_(model) {}

  void read() {
    read_header();
    find_parts();
    for (uint32_t i = 0; i < header_.tensors; ++i) read_tensor(i);
    read_ports();
    defined_.assign(model_.values_.size(), false);
    for (uint32_t i = 0; i < header_.tensors; ++i)
      defined_[i] = model_.values_[i].kind != file::Kind::computed;
    for (uint32_t i = 0; i < header_.operators; ++i) read_operator(i);
    finish();
  }

 private:
  template <typename T>
  T at(uint64_t offset) const {
    T out;
    std::memcpy(&out, bytes_.get() + offset, sizeof(T));
    return out;
  }

  void read_header() {
    need(size_ >= sizeof(header_), "it is shorter than a header");
    header_ = at<file::Header>(0);
    need(std::memcmp(header_.magic, file::magic, sizeof(file::magic)) == 0, "it does not start as a model does");
    if (header_.version != file::version)
      throw ModelUnsupported("model file version " + std::to_string(header_.version) + " is not " +
                             std::to_string(file::version) + "; compile the model for this engine");
    need(header_.op_set > 0, "it is of no op set");
    if (header_.op_set > op_set)
      throw ModelUnsupported("the model needs op set " + std::to_string(header_.op_set) + ", this engine has " +
                             std::to_string(op_set) + "; compile the model for this engine");
    need(header_.file_bytes == size_, "its length is not what its header says");
    need(header_.flags == 0 && header_.reserved == 0, "reserved bits are set");
    need(checksum_of(bytes_.get(), size_) == header_.checksum, "its checksum does not match");
    need(header_.tensors <= file::tensors_max && header_.operators <= file::operators_max &&
             header_.indices <= file::indices_max && header_.attributes <= file::attributes_max &&
             header_.names_bytes <= file::names_bytes_max,
         "a count is over its limit");
  }

  void find_parts() {
    tensors_ = sizeof(file::Header);
    operators_ = tensors_ + uint64_t{header_.tensors} * sizeof(file::TensorRecord);
    indices_ = operators_ + uint64_t{header_.operators} * sizeof(file::OperatorRecord);
    attributes_ = padded(indices_ + uint64_t{header_.indices} * 4, 8);
    names_ = attributes_ + uint64_t{header_.attributes} * 8;
    weights_ = padded(names_ + header_.names_bytes, alignment);
    need(names_ + header_.names_bytes <= size_, "its tables reach past its end");
  }

  uint32_t index(uint64_t i) const {
    const uint32_t value = at<uint32_t>(indices_ + i * 4);
    need(value < header_.tensors, "an index names no tensor");
    return value;
  }

  void read_tensor(uint32_t i) {
    const auto record = at<file::TensorRecord>(tensors_ + uint64_t{i} * sizeof(file::TensorRecord));
    need(uint64_t{record.name_start} + record.name_bytes <= header_.names_bytes, "a name is outside the names");
    need(record.kind <= static_cast<uint8_t>(file::Kind::constant), "a tensor is of no known kind");
    for (uint8_t zero : record.zero) need(zero == 0, "reserved bytes are set");
    Value value;
    value.name.assign(reinterpret_cast<const char*>(bytes_.get() + names_ + record.name_start), record.name_bytes);
    need(is_utf8(value.name), "a name is not UTF-8");
    value.kind = static_cast<file::Kind>(record.kind);
    if (value.kind == file::Kind::computed) {
      need(record.dtype == 0 && record.rank == 0 && record.start == 0 && record.bytes == 0,
           "a computed tensor has contents");
    } else {
      read_spec(record, value);
    }
    model_.values_.push_back(std::move(value));
  }

  void read_spec(const file::TensorRecord& record, Value& value) {
    need(is_dtype(record.dtype), "a tensor has no known dtype");
    need(record.rank <= rank_max, "a tensor has too many axes");
    value.spec.dtype = static_cast<Dtype>(record.dtype);
    for (int axis = 0; axis < rank_max; ++axis) {
      const int64_t size = record.dims[axis];
      const bool open = axis == 0 && size == -1 && value.kind == file::Kind::input;
      need(axis < record.rank ? size >= 0 || open : size == 0, "a shape cannot be");
      if (axis < record.rank) value.spec.shape.push(size);
    }
    if (value.kind == file::Kind::input) {
      need(record.start == 0 && record.bytes == 0, "an input has contents");
    } else {
      need(static_cast<uint64_t>(checked_bytes(value.spec)) == record.bytes, "a weight's length is not its shape's");
      need(record.start % alignment == 0 && record.start >= weights_ && record.start <= size_ &&
               record.bytes <= size_ - record.start,
           "a weight lies outside the weights");
      value.constant = Tensor(value.spec, bytes_, bytes_.get() + record.start);
    }
  }

  static int64_t checked_bytes(const Spec& spec) {
    try {
      return spec.bytes();
    } catch (const ValueError&) {
      throw ModelInvalid("the model file is damaged (a weight is too big); fetch or compile it again");
    }
  }

  void read_ports() {
    const uint64_t ports = uint64_t{header_.inputs} + header_.outputs;
    need(ports <= header_.indices && header_.outputs > 0, "its inputs and outputs are not in its indices");
    ports_start_ = header_.indices - ports;
    std::unordered_set<uint32_t> seen;
    for (uint64_t i = 0; i < ports; ++i) {
      const uint32_t value = index(ports_start_ + i);
      if (i < header_.inputs) {
        need(model_.values_[value].kind == file::Kind::input && seen.insert(value).second, "an input is listed wrongly");
        model_.input_values_.push_back(value);
      } else {
        model_.output_values_.push_back(value);
      }
    }
    size_t inputs = 0;
    for (const Value& value : model_.values_) inputs += value.kind == file::Kind::input;
    need(inputs == header_.inputs, "an input is not listed");
  }

  void read_operator(uint32_t i) {
    const auto record = at<file::OperatorRecord>(operators_ + uint64_t{i} * sizeof(file::OperatorRecord));
    const OpRow* row = row_of(record.id);
    if (row == nullptr || row->since > header_.op_set)
      throw ModelUnsupported("the model needs operator " + std::to_string(record.id) +
                             ", which this engine does not have; compile the model for this engine");
    need(record.zero == 0, "reserved bytes are set");
    need(uint64_t{record.index_start} + record.inputs + 1 <= ports_start_, "an operator's tensors are not there");
    need(uint64_t{record.attribute_start} + record.attributes <= header_.attributes,
         "an operator's attributes are not there");
    Node node{{static_cast<OpId>(record.id), {}}, {}, 0};
    for (uint32_t a = 0; a < record.attributes; ++a)
      node.op.attributes.push_back(at<int64_t>(attributes_ + (uint64_t{record.attribute_start} + a) * 8));
    for (uint32_t n = 0; n < record.inputs; ++n) {
      node.inputs.push_back(index(uint64_t{record.index_start} + n));
      need(defined_[node.inputs.back()], "an operator uses what was not made yet");
    }
    node.output = index(uint64_t{record.index_start} + record.inputs);
    need(!defined_[node.output], "a tensor is made twice");
    defined_[node.output] = true;
    model_.nodes_.push_back(std::move(node));
  }

  void finish() {
    for (uint32_t value : model_.output_values_) need(defined_[value], "an output is never made");
    model_.last_use_.assign(model_.values_.size(), 0);
    for (size_t n = 0; n < model_.nodes_.size(); ++n) {
      model_.last_use_[model_.nodes_[n].output] = n;
      for (uint32_t value : model_.nodes_[n].inputs) model_.last_use_[value] = n;
    }
    for (uint32_t value : model_.output_values_) model_.last_use_[value] = model_.nodes_.size();
    try {
      for (const Node& node : model_.nodes_) check_form(node.op, node.inputs.size());
      model_.describe_ports();
    } catch (const ValueError& error) {
      throw ModelInvalid(std::string("the model file is damaged (") + error.what() + "); compile it again");
    } catch (const DtypeError& error) {
      throw ModelInvalid(std::string("the model file is damaged (") + error.what() + "); compile it again");
    }
  }

  std::shared_ptr<std::byte> bytes_;
  size_t size_;
  Model& model_;
  file::Header header_{};
  uint64_t tensors_ = 0, operators_ = 0, indices_ = 0, attributes_ = 0, names_ = 0, weights_ = 0, ports_start_ = 0;
  std::vector<bool> defined_;
};

Model::Model(std::shared_ptr<std::byte> bytes, size_t size) { Reader(std::move(bytes), size, *this).read(); }

}  // namespace shoal
