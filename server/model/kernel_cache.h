// Where measured kernel choices are kept, and for which machine and build they hold.
#pragma once

#include <string>

namespace bitdial::server {

// As BITDIAL_KERNEL_CACHE says: a path, or "off". Without it kernel-choices.json in the folder
// bitdial of $XDG_CACHE_HOME, else of $HOME/.cache.
struct KernelCache {
  bool is_on = true;      // false: nothing is measured, read or written
  std::string path = {};  // "": measured at every start, for there is no home to keep it in
  bool is_named = false;  // by the user: that it cannot be written is worth a warning
};
KernelCache KernelCacheFromEnvironment();

// One line for people: "measured, kept in /home/me/.cache/bitdial/kernel-choices.json".
std::string Describe(const KernelCache& cache);

// Processor, its features, and the build: engine::KernelChoices::Open.
std::string KernelMachine();

}  // namespace bitdial::server
