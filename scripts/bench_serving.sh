#!/usr/bin/env bash
# What the server does with many users on this machine, as tables in Markdown on standard output.
#
#   ./scripts/bench_serving.sh                            SmolLM2 and a random 1.1B model; about 30 minutes
#   ./scripts/bench_serving.sh --smoke                    the demo model for seconds: shows that it runs, nothing else
#
# 1. One client and 8 at once on SmolLM2, in rounds: tokens/s, their ratio, and the time outside the model.
# 2. The 1.1B shape, prompt 32, output 128, fixed 4 bits: goodput over the rate, up to its peak.
# 3. In rounds: the best rate; ten times the peak's requests/s at fixed 4 bits, goodput beside the peak, the queue beside
#    its bound, how fast it refuses; the same with --bits auto:2, goodput beside that of fixed 4 bits.
#
#   --small PATH      a quantized model for 1     (default: SmolLM2, made under build/serving)
#   --model PATH      a quantized model for 2 and 3 (default: random llama-1.1b, made under build/serving)
#   --duration S      seconds of each run that count    (default: 60)
#   --rounds N        of 1 and 3                  (default: 3)
#   --threads N       of the server               (default: every core)
#   --numerics N      exact, int16 or int8        (default: int8)
#   --running N       the server's max_running_requests  (default: 8)
#   --queue N         the server's max_queued_requests; it bounds the wait of whoever is let in  (default: 2)
#   --slo-ttft-ms N   a good answer begins within  (default: 10000)
#   --slo-tpot-ms N   and takes at most this a token, on average  (default: 250)
#   -o FOLDER         also writes each run's JSON and plot there
#   -h, --help        this text
#
# Client and server share this machine. Run alone: a build beside it changes every figure.
# Exit codes: 0 done; 1 failed; 2 usage.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly WORK="$ROOT/build/serving" BITDIAL="$ROOT/build/release/bitdial"
SMALL='' MODEL='' SMOKE=no PASSED=()

parse_arguments() {
  while (($#)); do
    case "$1" in
      -h | --help) usage; exit 0 ;;
      --smoke) SMOKE=yes; shift; continue ;;
      --small | --model | --duration | --rounds | --threads | --numerics | --running | --queue | --slo-ttft-ms | --slo-tpot-ms | -o) ;;
      *) echo "unknown argument: $1; see --help" >&2; exit 2 ;;
    esac
    [[ $# -ge 2 ]] || { echo "$1 needs a value; see --help" >&2; exit 2; }
    case "$1" in
      --small) SMALL="$2" ;;
      --model) MODEL="$2" ;;
      -o) PASSED+=(--out "$2") ;;
      *) PASSED+=("$1" "$2") ;;
    esac
    shift 2
  done
}

# quantized SOURCE NAME FLAGS...: prints the folder, which is made once.
quantized() {
  local out="$WORK/$2"
  if [[ ! -d "$out" ]]; then
    quiet "quantize-$2" "$BITDIAL" quantize "$1" -o "$out" --bits 2-4 "${@:3}" >&2 || return 1
  fi
  echo "$out"
}

get_models() {
  mkdir -p "$WORK"
  if [[ $SMOKE == yes ]]; then
    SMALL="${SMALL:-$(quantized "$ROOT/demo/llama" demo --group-size 64)}"
    MODEL="${MODEL:-$SMALL}"
    PASSED=(--duration 2 --rounds 1 "${PASSED[@]}")
  fi
  if [[ -z "$SMALL" ]]; then
    fetch_smollm2 >&2 || die "SmolLM2 could not be had; give --small PATH"
    SMALL="$(quantized "$ROOT/models/$SMOL_GGUF" smollm2 --group-size 32)"
  fi
  if [[ -z "$MODEL" ]]; then
    MODEL="$WORK/llama-1.1b"
    if [[ ! -d "$MODEL" ]]; then
      quiet random-model "$BITDIAL" bench shape llama-1.1b -o "$MODEL" >&2 || die "the random model could not be made"
    fi
  fi
}

main() {
  parse_arguments "$@"
  trap stop_quiet EXIT
  trap 'exit 130' INT
  build release -- bitdial >&2 || die "the build failed"
  get_models
  python3 "$ROOT/scripts/bench/serving.py" --bitdial "$BITDIAL" --small "$SMALL" --model "$MODEL" \
    --commit "$(git -C "$ROOT" describe --always --dirty)" "${PASSED[@]}"
}

main "$@"
