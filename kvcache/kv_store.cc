#include "kvcache/kv_store.h"

#include "kernels/core/check.h"

namespace bitdial::kvcache {
namespace {

int64_t ElementBytes(kernels::KvFormat format) {
  switch (format) {
    case kernels::KvFormat::kF32:
      return 4;
    case kernels::KvFormat::kF16:
      return 2;
    case kernels::KvFormat::kNone:
      break;
  }
  BITDIAL_CHECK(false);
  return 0;
}

}  // namespace

int64_t KvShape::BytesPerToken() const {
  return num_layers * 2 * num_kv_heads * head_dim * ElementBytes(format);
}

absl::StatusOr<KvStore> KvStore::Create(const KvShape& shape, int32_t num_blocks) {
  const int64_t num_bytes = shape.BytesPerBlock() * num_blocks;
  auto bytes = Buffer::Allocate(Device::kCpu, static_cast<size_t>(num_bytes));
  if (!bytes.ok()) {
    return Annotate(bytes.status(), fmt::format("KV cache of {} blocks of {} tokens", num_blocks,
                                                shape.block_tokens));
  }
  return KvStore(shape, std::move(bytes).value());
}

kernels::KvSegment KvStore::Segment(int64_t layer, const int32_t* block_tables,
                                    int32_t max_blocks_per_seq) const {
  BITDIAL_DCHECK(layer >= 0 && layer < shape_.num_layers);
  return {.blocks = bytes_.data() + layer * (shape_.BytesPerBlock() / shape_.num_layers),
          .block_stride_bytes = shape_.BytesPerBlock(),
          .block_tokens = shape_.block_tokens,
          .block_tables = block_tables,
          .max_blocks_per_seq = max_blocks_per_seq,
          .num_kv_heads = shape_.num_kv_heads,
          .head_dim = shape_.head_dim};
}

}  // namespace bitdial::kvcache
