#!/usr/bin/env bash
# From a clean clone to an answer: installs, builds, gets a model, quantizes it, serves it, asks it one question.
#
#   ./scripts/quickstart.sh                     SmolLM2-135M-Instruct (98 MB download)
#   ./scripts/quickstart.sh --model PATH        your own: a Hugging Face folder, a GGUF file or a quantized folder
#   ./scripts/quickstart.sh --demo              the small Llama of this repository: it goes on with a text, no download
#
#   --model PATH    use this model instead of downloading one
#   --demo          use demo/llama; also what is used when the download fails
#   --ask TEXT      the question   (default: What is the capital of France? The demo goes on with: Once upon a time)
#   --bits "B B"    the bits to ask it at, each 1 to 8    (default: "4 3")
#   --keep          leave the server running and say how to stop it
#   -h, --help      this text
#
# Steps that are done are not done again: a second run starts the server and asks. Models lie under models/, logs under
# build/logs/. Needs Debian 12 (or packages of the same names), root or sudo for what is not installed yet, about 3 GB
# of disk. To install nothing: ./scripts/install_deps.sh --check says what is missing.
# Exit codes: 0 done; 1 a step failed (says which and why); 2 usage.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MODEL='' DEMO=no QUESTION='' BITS='4 3' KEEP=no
QUANTIZE_FLAGS=() CHAT=() SERVER_PID='' ADDRESS='' BITDIAL="$ROOT/build/release/bitdial"

parse_arguments() {
  while (($#)); do
    case "$1" in
      --model | --ask | --bits)
        [[ $# -ge 2 ]] || { echo "$1 needs a value; see --help" >&2; exit 2; }
        case "$1" in
          --model) MODEL="$2" ;;
          --ask) QUESTION="$2" ;;
          --bits) BITS="$2" ;;
        esac
        shift ;;
      --demo) DEMO=yes ;;
      --keep) KEEP=yes ;;
      -h | --help) usage; exit 0 ;;
      *) echo "unknown argument: $1; see --help" >&2; exit 2 ;;
    esac
    shift
  done
  [[ "$BITS" =~ ^[1-8](\ [1-8])*$ ]] || { echo "--bits takes numbers from 1 to 8: \"4 3\", not \"$BITS\"" >&2; exit 2; }
  [[ -z "$MODEL" || $DEMO == no ]] || { echo "--model and --demo are one too many; see --help" >&2; exit 2; }
  if [[ -n "$MODEL" ]]; then
    [[ -e "$MODEL" ]] || die "--model: no such file or folder: $MODEL"
    MODEL="$(realpath "$MODEL")"
  fi
}

# Sets MODEL to a path, and QUESTION where none was given.
get_model() {
  if [[ -n "$MODEL" ]]; then
    say "yours: $MODEL"
  elif [[ $DEMO == yes ]]; then
    use_demo
  elif fetch_smollm2; then
    MODEL="$ROOT/models/$SMOL_GGUF"
    # The file is Q4_1, 16 levels to 32 weights: the same groups lose nothing at 4 bits, and a model this small needs
    # fine groups at 3.
    QUANTIZE_FLAGS=(--group-size 32)
    say "SmolLM2-135M-Instruct, GGUF Q4_1, $(du -hL --apparent-size "$MODEL" | cut -f1)"
  else
    say "SmolLM2 is not to be had: going on with the demo model of this repository, which only knows how sentences go."
    say "For a model of your own: ./scripts/quickstart.sh --model PATH (a Hugging Face folder or a GGUF file)"
    use_demo
  fi
  QUESTION="${QUESTION:-What is the capital of France?}"
}

use_demo() {
  MODEL="$ROOT/demo/llama"
  QUESTION="${QUESTION:-Once upon a time}"
  QUANTIZE_FLAGS=(--group-size 64)
  say "demo/llama, fp16, $(du -hL --apparent-size "$MODEL" | cut -f1); what it was made from: demo/README.md"
}

# What a quantized folder was made from: path, flags, and size and time of every file. When one of them changes, it is
# quantized again.
source_stamp() {
  printf '%s %s\n' "$1" "${*:2}"
  find -L "$1" -type f -printf '%P %s %T@\n' | sort
}

# "2-4", or as much wider as the bits that are asked for need.
bit_range() {
  local bits low=2 high=4
  for bits in $BITS; do
    ((bits >= low)) || low=$bits
    ((bits <= high)) || high=$bits
  done
  echo "$low-$high"
}

# Sets MODEL to the quantized folder.
quantize() {
  if [[ -f "$MODEL/config.json" ]] && grep -q '"anybcq"' "$MODEL/config.json"; then
    say "it is quantized already: $MODEL"
    return
  fi
  local name out stamp
  name="$(basename "$MODEL" .gguf)"
  # Two models of one name lie apart; the quick start's own has a path that people can remember.
  if [[ "$MODEL" != "$ROOT/models/$SMOL_GGUF" ]]; then name+="-$(sha256sum <<<"$MODEL" | cut -c1-8)"; fi
  out="$ROOT/models/${name%.Q4_1}-bitdial"
  stamp="$out.source"
  QUANTIZE_FLAGS+=(--bits "$(bit_range)")
  if [[ -d "$out" && -f "$stamp" && "$(cat "$stamp")" == "$(source_stamp "$MODEL" "${QUANTIZE_FLAGS[@]}")" ]]; then
    say "done before: $out (remove the folder to quantize again)"
  else
    if [[ -d "$out" ]]; then
      [[ -f "$stamp" ]] || die "$out exists and was not made by this script: move it away"
      say "the model has changed since $out was made: quantizing again"
      rm -rf "$out"
    fi
    mkdir -p "$ROOT/models"
    "$BITDIAL" quantize "$MODEL" -o "$out" "${QUANTIZE_FLAGS[@]}" || die "bitdial quantize failed"
    source_stamp "$MODEL" "${QUANTIZE_FLAGS[@]}" >"$stamp"
  fi
  MODEL="$out"
}

# 50051 when it is free, else one that is.
pick_port() {
  python3 - <<'PYTHON'
import socket
for port in (50051, 0):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(s.getsockname()[1])
        break
PYTHON
}

start_server() {
  mkdir -p "$LOGS"
  ADDRESS="127.0.0.1:$(pick_port)"
  # Its own session, so that Ctrl-C here ends it through cleanup, drained.
  setsid "$BITDIAL" serve "$MODEL" --listen "$ADDRESS" >"$LOGS/serve.log" 2>&1 </dev/null &
  SERVER_PID=$!
  local deadline=$((SECONDS + 300))
  until "$BITDIAL" client --server "$ADDRESS" --health >/dev/null 2>&1; do
    if ! kill -0 "$SERVER_PID" 2>/dev/null || ((SECONDS > deadline)); then
      tail -n 20 "$LOGS/serve.log" >&2
      die "the server did not come up (log above, and in $LOGS/serve.log)"
    fi
    sleep 0.2
  done
  say "serving on $ADDRESS"
}

stop_server() {
  [[ -n "$SERVER_PID" ]] || return 0
  local pid="$SERVER_PID" code=0
  SERVER_PID=''
  kill -TERM "$pid" 2>/dev/null || true
  wait "$pid" || code=$?
  ((code == 0)) || say "the server ended with exit code $code; see $LOGS/serve.log"
}

# Sets CHAT: the question goes as a chat where the model has a template, else as plain text to go on with.
look_for_chat() {
  "$BITDIAL" client --server "$ADDRESS" --model-info --json >"$LOGS/model.json" || die "the server does not describe its model"
  if grep -q '"chat_template":"none"' "$LOGS/model.json"; then
    say "the model has no chat template: it goes on with the text"
  else
    CHAT=(--chat)
  fi
}

ask() {
  local bits="$1" answer="$LOGS/answer-$1.json"
  "$BITDIAL" client --server "$ADDRESS" "${CHAT[@]}" --prompt="$QUESTION" --bits "$bits" --temperature 0 --max-tokens 64 \
      --json >"$answer" || die "no answer at $bits bits"
  python3 - "$answer" "$bits" <<'PYTHON'
import json, sys
answer = json.load(open(sys.argv[1]))
print(f"\n   at {sys.argv[2]} bits: {answer['text'].strip()}")
print(f"   ({answer['completion_tokens']} tokens at {answer['decode_tokens_per_s']:.1f} tokens/s, "
      f"first text after {answer['first_text_s']:.2f} s)")
PYTHON
}

resident_mb() { awk '/^VmRSS/ {print int($2 / 1024)}' "/proc/$SERVER_PID/status"; }

whats_next() {
  local bitdial="${BITDIAL#"$ROOT"/}" model="${MODEL#"$ROOT"/}"
  heading "Next"
  if [[ $KEEP == yes ]]; then
    say "The server runs on $ADDRESS (process $SERVER_PID, log $LOGS/serve.log). Stop it with: kill $SERVER_PID"
    say "$bitdial client --server $ADDRESS${CHAT[*]:+ ${CHAT[*]}} --prompt \"Tell me a story\" --bits 3"
  else
    say "$bitdial serve $model"
    say "$bitdial client${CHAT[*]:+ ${CHAT[*]}} --prompt \"Tell me a story\" --bits 3       (in a second terminal)"
  fi
  say "$bitdial generate $model --prompt \"Once upon a time\" --bits 2    (no server)"
  say "$bitdial --help"
}

main() {
  parse_arguments "$@"
  trap 'stop_quiet; stop_server' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM

  heading "1/6 Install what is missing"
  "$ROOT/scripts/install_deps.sh" | sed 's/^/   /'

  heading "2/6 Build"
  [[ -x "$BITDIAL" ]] || say "the first build takes some minutes on $(nproc) cores ($(build_jobs) compilers at a time)"
  build release -- bitdial || die "the build failed (above, and in $LOGS)"
  say "${BITDIAL#"$ROOT"/}, $(seconds_text $SECONDS) since the start"

  heading "3/6 Get a model"
  get_model

  heading "4/6 Quantize"
  local began=$SECONDS
  quantize
  say "$(du -shL --apparent-size "$MODEL" | cut -f1) on disk, $(seconds_text $((SECONDS - began)))"

  heading "5/6 Serve"
  start_server

  heading "6/6 Ask: $QUESTION"
  look_for_chat
  local bits
  for bits in $BITS; do ask "$bits"; done
  printf '\n'
  say "server memory: $(resident_mb) MB resident"
  say "$(seconds_text $SECONDS) in all"

  whats_next
  if [[ $KEEP == yes ]]; then SERVER_PID=''; else stop_server; fi
}

main "$@"
