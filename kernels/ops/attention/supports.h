// Preconditions that the attention and append rows of every KV format share.
#pragma once

#include <string>

#include "kernels/kernel_table.h"

namespace bitdial::kernels {

// num_kv_heads and head_dim positive.
std::string KvAppendSupports(const KernelShape& shape);

// The same, and num_heads a positive multiple of num_kv_heads.
std::string AttentionSupports(const KernelShape& shape);

// The same, and what the tile micro-kernels hold: head_dim <= 256, at most 32 heads per KV head.
std::string TileAttentionSupports(const KernelShape& shape);

}  // namespace bitdial::kernels
