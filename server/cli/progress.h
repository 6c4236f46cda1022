// Progress of long work: a bar with ETA on a terminal, a plain line now and then elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace bitdial::server {

// Writes to stderr, so that --json on stdout stays clean.
class Progress {
 public:
  // total: in whatever unit Update counts. quiet: print nothing at all.
  Progress(std::string title, bool quiet = false);
  ~Progress();

  // `detail` is shown behind the bar (a tensor's name). Redraws at most ten times a second; off a
  // terminal, prints a line at most every ten seconds.
  void Update(int64_t done, int64_t total, const std::string& detail);

  // Clears the bar. The destructor does it too.
  void Finish();

 private:
  void Draw(double fraction, double elapsed_s, const std::string& detail);

  const std::string title_;
  const bool is_quiet_;
  const bool is_terminal_;
  const std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_draw_;
  bool is_drawn_ = false;
};

}  // namespace bitdial::server
