#!/usr/bin/env bash
# Bitdial beside llama.cpp on this machine: the same shapes, threads and prompts, in turns.
#
#   ./scripts/bench_vs_llamacpp.sh                        llama-1.1b, every core, 3 rounds
#   ./scripts/bench_vs_llamacpp.sh --shape llama-8b:8 --threads 1
#
#   --shape SHAPE     as for bitdial bench engine --shape  (default: llama-1.1b)
#   --threads N       for both                             (default: every core)
#   --rounds N        each figure is the median of so many (default: 3)
#   --isa native|avx2 avx2: llama.cpp built for AVX2 alone, Bitdial's cpu_avx2 rows   (default: native)
#   --numerics N      Bitdial's: exact, int16 or int8      (default: int8)
#   -o PREFIX         writes PREFIX.json, PREFIX.md and PREFIX.svg  (default: build/llama.cpp/SHAPE-ISA-tN)
#   -h, --help        this text
#
# llama.cpp is the copy inside a pinned source distribution on PyPI, built here with its own defaults. Its models are
# random weights of the shape, quantized by its own tool to Q2_K, Q3_K_S and Q4_0; flash attention is tried on and off
# and the better kept. Everything lies under build/llama.cpp and is made once (some minutes; 3 GB for llama-1.1b).
# Run alone: a build or a browser beside it changes every figure. Exit codes: 0 done; 1 failed; 2 usage.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly PEER="$ROOT/build/llama.cpp"
readonly SDIST=llama_cpp_python-0.3.36.tar.gz
readonly SDIST_SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e

SHAPE=llama-1.1b THREADS=$(nproc) ROUNDS=3 ISA=native NUMERICS=int8 PREFIX=''

parse_arguments() {
  while (($#)); do
    case "$1" in
      -h | --help) usage; exit 0 ;;
      --shape | --threads | --rounds | --isa | --numerics | -o) ;;
      *) echo "unknown argument: $1; see --help" >&2; exit 2 ;;
    esac
    [[ $# -ge 2 ]] || { echo "$1 needs a value; see --help" >&2; exit 2; }
    case "$1" in
      --shape) SHAPE="$2" ;;
      --threads) THREADS="$2" ;;
      --rounds) ROUNDS="$2" ;;
      --isa) ISA="$2" ;;
      --numerics) NUMERICS="$2" ;;
      -o) PREFIX="$2" ;;
    esac
    shift 2
  done
  [[ "$THREADS" =~ ^[1-9][0-9]*$ && "$ROUNDS" =~ ^[1-9][0-9]*$ ]] ||
    { echo "--threads and --rounds take numbers from 1" >&2; exit 2; }
  [[ "$ISA" == native || "$ISA" == avx2 ]] || { echo "--isa takes native or avx2, not \"$ISA\"" >&2; exit 2; }
  PREFIX="${PREFIX:-$PEER/${SHAPE/:/-}-$ISA-t$THREADS}"
}

get_source() {
  if [[ -f "$PEER/source/CMakeLists.txt" ]]; then return 0; fi
  mkdir -p "$PEER/source"
  if ! has_sha256 "$PEER/$SDIST" "$SDIST_SHA256"; then
    quiet llamacpp-download python3 -m pip download --disable-pip-version-check --no-deps --no-binary=llama-cpp-python \
      --dest "$PEER" "llama-cpp-python==0.3.36" || die "pip could not download $SDIST"
    has_sha256 "$PEER/$SDIST" "$SDIST_SHA256" || die "$PEER/$SDIST does not have the sha256 $SDIST_SHA256"
  fi
  tar -xzf "$PEER/$SDIST" -C "$PEER/source" --strip-components=3 "${SDIST%.tar.gz}/vendor/llama.cpp"
}

# Its defaults for speed; only what we do not run is left out.
build_peer() {
  local flags=(-DGGML_NATIVE=ON)
  if [[ $ISA == avx2 ]]; then
    flags=(-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AVX512=OFF)
  fi
  if [[ -x "$PEER/$ISA/bin/system_info" ]]; then return 0; fi
  quiet "llamacpp-configure-$ISA" cmake -S "$PEER/source" -B "$PEER/$ISA" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    "${flags[@]}" -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_OPENSSL=OFF \
    -DLLAMA_BUILD_APP=OFF -DBUILD_SHARED_LIBS=OFF || return 1
  quiet "llamacpp-build-$ISA" cmake --build "$PEER/$ISA" -j "$(build_jobs)" \
    --target llama-batched-bench llama-quantize || return 1
  local libraries=("$PEER/$ISA/src/libllama.a" "$PEER/$ISA/ggml/src"/libggml{,-cpu,-base}.a)
  quiet "llamacpp-system-info-$ISA" c++ -I"$PEER/source/include" -I"$PEER/source/ggml/include" \
    "$ROOT/scripts/bench/system_info.cc" -o "$PEER/$ISA/bin/system_info" "${libraries[@]}" -fopenmp -pthread -ldl
}

# Random weights in fp16, then every type by its own quantizer, so that its mixtures are its own.
make_models() {
  local folder="$PEER/models/${SHAPE/:/-}" type
  mkdir -p "$folder"
  for type in Q2_K Q3_K_S Q4_0; do
    if [[ -f "$folder/$type.gguf" ]]; then continue; fi
    if [[ ! -f "$folder/f16.gguf" ]]; then
      quiet random-gguf "$PEER/venv/bin/python" "$ROOT/scripts/bench/make_random_gguf.py" "$SHAPE" "$folder/f16.part" || return 1
      mv "$folder/f16.part" "$folder/f16.gguf"
    fi
    quiet "quantize-$type" "$PEER/$ISA/bin/llama-quantize" "$folder/f16.gguf" "$folder/part.gguf" "$type" "$(nproc)" || return 1
    mv "$folder/part.gguf" "$folder/$type.gguf"
  done
  rm -f "$folder/f16.gguf"
}

# For models, table and plot.
make_python() {
  local requirements="$ROOT/scripts/bench/requirements.txt"
  if cmp -s "$requirements" "$PEER/venv/stamp"; then return 0; fi
  rm -rf "$PEER/venv"
  quiet bench-venv python3 -m venv "$PEER/venv" || return 1
  quiet bench-pip "$PEER/venv/bin/python" -m pip install --disable-pip-version-check --only-binary=:all: \
    -r "$requirements" || return 1
  cp "$requirements" "$PEER/venv/stamp"
}

main() {
  parse_arguments "$@"
  trap stop_quiet EXIT
  trap 'exit 130' INT
  heading "Bitdial"
  "$ROOT/scripts/install_deps.sh" | sed 's/^/   /'
  build release -- bitdial || die "the build failed"
  heading "llama.cpp"
  get_source
  build_peer || die "llama.cpp could not be built"
  make_python || die "the packages of scripts/bench/requirements.txt could not be installed"
  make_models || die "its models could not be made"
  heading "In turns: $SHAPE, $THREADS threads, $ROUNDS rounds, $ISA"
  mkdir -p "$(dirname "$PREFIX")"
  "$PEER/venv/bin/python" "$ROOT/scripts/bench/vs_llamacpp.py" --bitdial "$ROOT/build/release/bitdial" \
    --peer "$PEER/$ISA/bin" --models "$PEER/models/${SHAPE/:/-}" --shape "$SHAPE" --threads "$THREADS" \
    --rounds "$ROUNDS" --isa "$ISA" --numerics "$NUMERICS" --commit "$(git -C "$ROOT" describe --always --dirty)" \
    --out "$PREFIX"
}

main "$@"
