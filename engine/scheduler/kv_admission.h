#pragma once

namespace bitdial::engine {

// When a waiting sequence may begin.
enum class KvAdmission {
  kReserve,     // its worst case fits the KV cache: it never loses its blocks
  kOptimistic,  // what it has now fits: more run at once, and the last may have to wait again and
                // recompute
};

}  // namespace bitdial::engine
