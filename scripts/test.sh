#!/usr/bin/env bash
# Runs every test, in parts, each with a time budget for 2 cores and a clean build.
#
#   ./scripts/test.sh              everything: release, address and undefined sanitizers, thread sanitizer, fuzzing
#   ./scripts/test.sh --quick      the release part only
#   ./scripts/test.sh --no-install take the machine as it is
#
# Ends with a table (part, result, time, budget) and what did not run, with reasons. A part over its budget is marked,
# not failed: machines differ. Installs what the tests need first: Debian packages (scripts/install_deps.sh, and clang
# for fuzzing, haproxy, prometheus, qemu-user, PyTorch to train a tiny demo model), Python environments under .cache,
# SmolLM2 under models/. What cannot be had (no network) is named, and the tests that need it are skipped. Logs: build/logs/.
#
# Environment
#   BITDIAL_SHARED_DATA   where the shared test data lies (default: ../shared/data; without it those tests are skipped)
# Exit codes: 0 all that ran passed; 1 something failed; 2 usage.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

QUICK=no INSTALL=yes FAILED=no
PARTS=()     # "name|result|seconds|budget" of each part
ABSENT=()    # why something could not run, beside what the tests themselves say
readonly LABELS=(house kernels kvcache quant engine server e2e fuzz)  # in tests/**/CMakeLists.txt; slow comes on top

# part NAME BUDGET_SECONDS COMMAND...: runs it, records it, goes on when it fails.
part() {
  local name="$1" budget="$2" began=$SECONDS result=passed
  shift 2
  heading "$name (budget $(seconds_text "$budget"))"
  "$@" || { result=FAILED; FAILED=yes; }
  PARTS+=("$name|$result|$((SECONDS - began))|$budget")
  say "$name: $result in $(seconds_text $((SECONDS - began)))"
  [[ $result == passed ]]
}

install() {
  if [[ $INSTALL == yes ]]; then
    "$ROOT/scripts/install_deps.sh" | sed 's/^/   /' || return 1
    if [[ $QUICK == no ]] && ! command -v clang++ >/dev/null; then
      apt_install clang libclang-rt-dev || say "clang could not be installed"
    fi
    if ! command -v openssl >/dev/null || { ! command -v haproxy >/dev/null && [[ ! -x /usr/sbin/haproxy ]]; }; then
      apt_install haproxy openssl || say "haproxy could not be installed"
    fi
    if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then
      apt_install prometheus || say "prometheus could not be installed"
    fi
    if ! command -v qemu-x86_64 >/dev/null; then
      apt_install qemu-user || say "qemu-user could not be installed"
    fi
    make_venv venv tests/e2e/requirements.txt python3 || say "the Python client packages could not be installed"
    make_torch_venv || say "PyTorch could not be installed"
    fetch_smollm2 || say "going on without SmolLM2"
  fi
  [[ -x "$ROOT/.cache/venv/bin/python" ]] ||
    ABSENT+=("Python gRPC clients: no .cache/venv with tests/e2e/requirements.txt (PyPI not reached?)")
  [[ -x "$ROOT/.cache/torch-venv/bin/python" ]] ||
    ABSENT+=("training the demo models: no .cache/torch-venv with PyTorch (Debian's python3-torch not had?)")
  command -v prometheus >/dev/null || ABSENT+=("dashboard and alerts: no prometheus (Debian's prometheus not had?)")
  command -v qemu-x86_64 >/dev/null || ABSENT+=("emulated processors: no qemu-x86_64 (Debian's qemu-user not had?)")
  [[ -f "$ROOT/models/$SMOL_GGUF" ]] || ABSENT+=("SmolLM2: models/$SMOL_GGUF is absent (PyPI not reached?)")
  [[ -d "$BITDIAL_SHARED_DATA" ]] || ABSENT+=("shared data: $BITDIAL_SHARED_DATA is absent")
  command -v nvcc >/dev/null || ABSENT+=("CUDA: nvcc is absent, nothing was compiled for GPUs")
}

# make_venv NAME REQUIREMENTS PYTHON...: .cache/NAME, whose stamp is the requirements it was made from.
make_venv() {
  local name="$1" venv="$ROOT/.cache/$1" requirements="$ROOT/$2"
  shift 2
  if cmp -s "$requirements" "$venv/stamp"; then return 0; fi
  rm -rf "$venv"
  mkdir -p "$ROOT/.cache"
  if quiet "$name" "$1" -m venv "${@:2}" "$venv" &&
    quiet "$name-pip" "$venv/bin/python" -m pip install --disable-pip-version-check --only-binary=:all: -r "$requirements"; then
    cp "$requirements" "$venv/stamp"
  else
    rm -rf "$venv"
    return 1
  fi
}

# PyTorch is Debian's (PyPI's brings CUDA, gigabytes of it), so it is Debian's python3 that sees it.
make_torch_venv() {
  /usr/bin/python3 -c 'import torch' 2>/dev/null || apt_install python3-torch || return 1
  make_venv torch-venv scripts/demo/requirements.txt /usr/bin/python3 --system-site-packages
}

# run_ctest PRESET NAME ARGUMENTS...: the tests' whole output is kept as build/logs/ctest-PRESET-NAME.log.
run_ctest() {
  local preset="$1" name="$2" code=0 runner=()
  shift 2
  # gcc 12's thread sanitizer cannot map its shadow where newer kernels randomize more address bits.
  if [[ $preset == tsan ]] && setarch -R true 2>/dev/null; then runner=(setarch -R); fi
  "${runner[@]}" ctest --test-dir "$ROOT/build/$preset" --output-on-failure --no-tests=error "$@" || code=$?
  cp "$ROOT/build/$preset/Testing/Temporary/LastTest.log" "$LOGS/ctest-$preset-$name.log" 2>/dev/null || true
  return "$code"
}

# The build targets of a preset's tests that carry one of the labels (a regular expression). A test's target has its
# name; a test without a target is a script.
targets_of() {
  local tests
  tests=$(ctest --test-dir "$ROOT/build/$1" -L "$2" -LE '^slow$' -N | sed -nE 's/^ *Test +#[0-9]+: (\S+).*/\1/p')
  cmake --build "$ROOT/build/$1" --target help | sed -nE 's/^(\S+): phony$/\1/p' | grep -Fx -e "$tests" || true
}

has_tests() { ctest --test-dir "$ROOT/build/$1" "${@:2}" -N 2>/dev/null | grep 'Total Tests: [1-9]' >/dev/null; }

release() {
  part "build release" 900 build release -DBITDIAL_TESTS=ON || return 0
  local label known
  # Seconds; what they are made of is in docs/testing.md.
  declare -A budget=([house]=30 [kernels]=120 [kvcache]=30 [quant]=120 [engine]=120 [server]=120 [e2e]=360 [fuzz]=120)
  for label in "${LABELS[@]}"; do
    if has_tests release -L "^$label\$" -LE '^slow$'; then
      part "$label" "${budget[$label]}" run_ctest release "$label" -L "^$label\$" -LE '^slow$' || true
    else
      ABSENT+=("$label: no test carries this label")
    fi
  done
  known="$(IFS='|'; echo "${LABELS[*]}")"
  if has_tests release -LE "^($known|slow)\$"; then
    part "other" 60 run_ctest release other -LE "^($known|slow)\$" || true
  fi
  if has_tests release -L '^slow$'; then
    part "slow" 300 run_ctest release slow -L '^slow$' || true
  fi
}

# There is no CUDA kernel yet: what there is for devices compiles and links, and nothing more is claimed.
cuda() {
  command -v nvcc >/dev/null || return 0
  part "build cuda" 120 build cuda -DBITDIAL_TESTS=OFF -- bitdial_cuda || true
  ABSENT+=("GPU: there is no CUDA kernel yet; the device query was compiled, not run")
}

# sanitized PRESET NAME LABELS BUILD_BUDGET RUN_BUDGET
sanitized() {
  local preset="$1" name="$2" labels="$3" targets
  build_labelled() {
    quiet "configure-$preset" cmake -S "$ROOT" --preset "$preset" || return 1
    mapfile -t targets < <(targets_of "$preset" "$labels")
    ((${#targets[@]})) && build "$preset" -- "${targets[@]}"
  }
  part "build $name" "$4" build_labelled || return 0
  part "$name" "$5" run_ctest "$preset" all -L "$labels" -LE '^slow$' || true
}

fuzzed() {
  if ! command -v clang++ >/dev/null; then
    ABSENT+=("fuzzing with coverage: clang++ is absent (seeds and fixed mutations did run)")
    return 0
  fi
  # One thread each, and 20 s whatever else runs.
  CTEST_PARALLEL_LEVEL=2 sanitized fuzz libFuzzer '^fuzz$' 900 240
}

summary() {
  local line name result seconds budget note
  heading "Summary"
  printf '   %-16s %-8s %8s %8s\n' part result time budget
  for line in "${PARTS[@]}"; do
    IFS='|' read -r name result seconds budget <<<"$line"
    note=''
    ((seconds <= budget)) || note='  over budget'
    printf '   %-16s %-8s %8s %8s%s\n' "$name" "$result" "$(seconds_text "$seconds")" "$(seconds_text "$budget")" "$note"
  done
  heading "Did not run"
  ABSENT+=("the image and compose.yaml: ./scripts/container_check.sh builds and runs them")
  printf '   %s\n' "${ABSENT[@]}"
  [[ $QUICK == no ]] || say "sanitizers and fuzzing: --quick"
  python3 "$ROOT/scripts/list_skipped.py" "$LOGS"/ctest-*.log || say "which tests were skipped is not known"
  heading "$(if [[ $FAILED == yes ]]; then echo FAILED; else echo passed; fi) in $(seconds_text $SECONDS)"
}

main() {
  while (($#)); do
    case "$1" in
      --quick) QUICK=yes ;;
      --no-install) INSTALL=no ;;
      -h | --help) usage; exit 0 ;;
      *) echo "unknown argument: $1; see --help" >&2; exit 2 ;;
    esac
    shift
  done
  trap stop_quiet EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  export BITDIAL_SHARED_DATA="${BITDIAL_SHARED_DATA:-$(dirname "$ROOT")/shared/data}"
  export BITDIAL_SMOLLM2="${BITDIAL_SMOLLM2:-$ROOT/models/$SMOL_GGUF}"  # the GGUF; tests skip when it is absent
  export CTEST_PARALLEL_LEVEL="${CTEST_PARALLEL_LEVEL:-1}"   # engine tests use all cores themselves
  export UBSAN_OPTIONS="print_stacktrace=1" TSAN_OPTIONS="second_deadlock_stack=1"
  if [[ -f "$ROOT/tests/tsan.supp" ]]; then TSAN_OPTIONS+=" suppressions=$ROOT/tests/tsan.supp"; fi
  mkdir -p "$LOGS"
  rm -f "$LOGS"/ctest-*.log

  if part "install" 300 install; then
    # The gRPC client tests skip without its packages.
    if [[ -x "$ROOT/.cache/venv/bin/python" ]]; then export BITDIAL_PYTHON="$ROOT/.cache/venv/bin/python"; fi
    if [[ -x "$ROOT/.cache/torch-venv/bin/python" ]]; then
      export BITDIAL_TORCH_PYTHON="$ROOT/.cache/torch-venv/bin/python"
    fi
    release
    if [[ $QUICK == no ]]; then
      sanitized asan asan+ubsan '^(kernels|kvcache|quant|engine|server)$' 900 600
      sanitized tsan tsan '^(engine|server)$' 600 300
      fuzzed
      cuda
    fi
  fi
  summary
  [[ $FAILED == no ]]
}

main "$@"
