// What the subcommands of `bitdial` share: how one is added, and how a status becomes an exit code.
#pragma once

#include <CLI/CLI.hpp>

#include "kernels/core/status.h"

namespace bitdial::server {

// Documented in docs/cli.md and in `bitdial --help`. A signal ends with 128 + its number.
enum ExitCode : int {
  kExitOk = 0,
  kExitFailure = 1,      // failed while running
  kExitUsage = 2,        // a flag or a value is wrong
  kExitBadFile = 3,      // a file is missing, unreadable or damaged
  kExitUnsupported = 4,  // known, but not built or not supported
  kExitMachine = 5,      // the machine, the build or the model lacks what was asked for
  kExitExists = 6,       // the output is already there
  kExitResources = 7,    // memory, disk, port or queue is not to be had
  kExitNoServer = 8,     // the server cannot be reached or is not serving
  kExitBadConfig = 9,    // the config file or environment is wrong
  kExitTimeout = 10,     // the time that --timeout gave has passed
};

int ExitCodeOf(const absl::Status& status);

// The same error, marked as the fault of a config file or of the environment: kExitBadConfig
// whatever its code.
absl::Status BlameConfig(absl::Status status);

// Prints "bitdial: <message>" to stderr and returns the status's exit code; kExitOk and silent when
// it is OK.
int Report(const absl::Status& status);

// Takes a finite number in [min, max]. CLI::Range lets NaN through: no comparison with it is true.
CLI::Validator NumberIn(double min, double max);
// Takes a whole number in [0, 2^64). CLI11 alone turns -1 into the largest one.
CLI::Validator IsSeed();

// Each adds one subcommand; when the user chose it, its callback runs it and sets exit_code.
void AddQuantizeCommand(CLI::App& app, int& exit_code);
void AddGenerateCommand(CLI::App& app, int& exit_code);
void AddEvalCommand(CLI::App& app, int& exit_code);
void AddServeCommand(CLI::App& app, int& exit_code);
void AddKeysCommand(CLI::App& app, int& exit_code);
void AddAdminCommand(CLI::App& app, int& exit_code);
void AddClientCommand(CLI::App& app, int& exit_code);
void AddBenchCommand(CLI::App& app, int& exit_code);
void AddInspectCommand(CLI::App& app, int& exit_code);
void AddDoctorCommand(CLI::App& app, int& exit_code);

}  // namespace bitdial::server
