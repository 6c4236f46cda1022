// Runs a fuzz target without libFuzzer: every seed as it is, cut short, with bits flipped and with
// bytes overwritten.
//
//   some_fuzz FILE_OR_FOLDER...      exit 1 when there is no seed
//
// Deterministic: the same seeds give the same inputs. The sanitizer presets give it teeth; the fuzz
// preset (clang) links libFuzzer instead of this file.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
// A target may define it, as under libFuzzer.
extern "C" __attribute__((weak)) int LLVMFuzzerInitialize(int* argc, char*** argv);

namespace {

using Bytes = std::vector<uint8_t>;

// Per seed. Enough to cut and flip all through a header of a few hundred bytes.
constexpr size_t kNumCuts = 64;
constexpr size_t kNumFlips = 256;
constexpr size_t kNumEdits = 256;
// What readers get wrong: zero, the largest of a type, the sign change.
constexpr uint64_t kValues[] = {0,
                                1,
                                0x7f,
                                0x80,
                                0xff,
                                0x7fff'ffff,
                                0x8000'0000,
                                0xffff'ffff,
                                0x7fff'ffff'ffff'ffff,
                                0x8000'0000'0000'0000,
                                0xffff'ffff'ffff'ffff};
// The test's own bound, well below its ctest timeout; what it left out is printed.
constexpr std::chrono::seconds kLimit(60);

std::vector<std::filesystem::path> FindSeeds(int argc, char** argv) {
  std::vector<std::filesystem::path> seeds;
  for (int i = 1; i < argc; ++i) {
    if (std::filesystem::is_directory(argv[i])) {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i])) {
        if (entry.is_regular_file()) seeds.push_back(entry.path());
      }
    } else {
      seeds.emplace_back(argv[i]);
    }
  }
  std::sort(seeds.begin(), seeds.end());
  return seeds;
}

Bytes Read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "cannot read %s\n", path.c_str());
    std::exit(1);
  }
  return Bytes(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

// A copy in memory of exactly its own size, so that address sanitizer sees one byte too far.
void Run(const Bytes& bytes) {
  std::vector<uint8_t> exact(bytes);
  exact.shrink_to_fit();
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

// Headers sit at the front: half of all edits fall into the first 512 bytes.
size_t Place(std::mt19937_64& random, size_t size) {
  const size_t front = std::min<size_t>(size, 512);
  return random() % (random() % 2 == 0 ? front : size);
}

void Edit(std::mt19937_64& random, Bytes& bytes) {
  const size_t ofs = Place(random, bytes.size());
  const uint64_t value = kValues[random() % std::size(kValues)];
  const size_t width = std::min<size_t>(size_t{1} << (random() % 4), bytes.size() - ofs);
  for (size_t i = 0; i < width; ++i) bytes[ofs + i] = static_cast<uint8_t>(value >> (8 * i));
}

// Returns the number of inputs run.
size_t RunVariants(const Bytes& seed, std::mt19937_64& random) {
  size_t num_runs = 1;
  Run(seed);
  if (seed.empty()) return num_runs;
  for (size_t i = 0; i < kNumCuts; ++i, ++num_runs) {
    // Every short length first, then evenly to the end.
    const size_t size = i < kNumCuts / 2 ? std::min(i, seed.size())
                                         : seed.size() * (i - kNumCuts / 2) / (kNumCuts / 2);
    Run(Bytes(seed.begin(), seed.begin() + static_cast<std::ptrdiff_t>(size)));
  }
  for (size_t i = 0; i < kNumFlips; ++i, ++num_runs) {
    Bytes bytes = seed;
    bytes[Place(random, bytes.size())] ^= static_cast<uint8_t>(1u << (random() % 8));
    Run(bytes);
  }
  for (size_t i = 0; i < kNumEdits; ++i, ++num_runs) {
    Bytes bytes = seed;
    for (uint64_t edits = 1 + random() % 3; edits > 0; --edits) Edit(random, bytes);
    Run(bytes);
  }
  return num_runs;
}

}  // namespace

int main(int argc, char** argv) {
  if (LLVMFuzzerInitialize != nullptr) LLVMFuzzerInitialize(&argc, &argv);
  const std::vector<std::filesystem::path> seeds = FindSeeds(argc, argv);
  if (seeds.empty()) {
    std::fprintf(stderr, "no seed found: usage: %s FILE_OR_FOLDER...\n", argv[0]);
    return 1;
  }
  const auto start = std::chrono::steady_clock::now();
  std::mt19937_64 random(20240607);
  size_t num_runs = 0, num_seeds = 0;
  for (const auto& path : seeds) {
    if (std::chrono::steady_clock::now() - start > kLimit) break;
    num_runs += RunVariants(Read(path), random);
    ++num_seeds;
  }
  std::printf("%zu inputs from %zu of %zu seeds\n", num_runs, num_seeds, seeds.size());
  return 0;
}
