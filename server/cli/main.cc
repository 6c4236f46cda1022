// The one executable. Each subcommand lives in its own file beside this one.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <string>
#include <vector>

#include "kernels/core/nearest.h"
#include "server/cli/command.h"
#include "server/version.h"

namespace {

// False, after a message, when the first word is no command: CLI11 would say only that one is
// missing.
bool NamesCommand(const CLI::App& app, const char* word) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->get_name() == word) return true;
    names.push_back(command->get_name());
  }
  std::fprintf(stderr, "bitdial: \"%s\" is no command, see bitdial --help%s\n", word,
               bitdial::DidYouMean(word, names).c_str());
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace bitdial::server;
  CLI::App app{
      "Bitdial: an LLM inference server where every request dials how many bits of the weights it "
      "reads.\n\n"
      "  bitdial quantize MODEL -o OUT       make a checkpoint of nested bit-planes\n"
      "  bitdial serve OUT                   serve it over gRPC on 127.0.0.1:50051\n"
      "  bitdial client --prompt \"Hello\" --bits 3\n\n"
      "MODEL is a Hugging Face folder, a GGUF file or a quantized folder."};
  bool wants_json = false;  // read before --version acts: flags act in the order they are added
  CLI::Option* json = app.add_flag("--json", wants_json, "Print the version as JSON");
  json->needs(app.set_version_flag(
      "--version", [&wants_json] { return wants_json ? VersionJson() : VersionText(); },
      "Print version, commit, compiler and backends and exit"));
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 failed while running, 2 wrong flag or value, 3 file missing or "
      "damaged, 4 not supported,\n"
      "5 machine, build or model lacks what was asked, 6 output exists, 7 out of memory, disk, "
      "port or "
      "queue, 8 server not\n"
      "reached, 9 wrong config, 10 --timeout passed, 128+n ended by signal n. "
      "BITDIAL_FORCE_BACKEND=cpu_ref|cpu_avx2|cpu_avx512 picks kernels, BITDIAL_FORCE_KERNEL=ROW "
      "one of a class.");

  int exit_code = kExitOk;
  AddQuantizeCommand(app, exit_code);
  AddServeCommand(app, exit_code);
  AddClientCommand(app, exit_code);
  AddKeysCommand(app, exit_code);
  AddAdminCommand(app, exit_code);
  AddGenerateCommand(app, exit_code);
  AddEvalCommand(app, exit_code);
  AddBenchCommand(app, exit_code);
  AddInspectCommand(app, exit_code);
  AddDoctorCommand(app, exit_code);
  if (argc > 1 && argv[1][0] != '-' && !NamesCommand(app, argv[1])) return kExitUsage;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;  // CLI11's own codes are 100-127
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "bitdial: out of memory\n");
    return kExitResources;
  } catch (const std::exception& error) {  // nothing of ours throws: a library's
    std::fprintf(stderr, "bitdial: unexpected error: %s\n", error.what());
    return kExitFailure;
  }
  std::cout.flush();
  if (exit_code == kExitOk &&
      (std::fflush(stdout) != 0 || std::ferror(stdout) != 0 || !std::cout)) {
    std::fprintf(stderr, "bitdial: the output could not be written (disk full?)\n");
    return kExitResources;
  }
  return exit_code;
}
