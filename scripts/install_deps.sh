#!/usr/bin/env bash
# Brings everything the build and the tests need, on Debian 12 (or a system with the same package names):
#   1. Debian packages that are missing, with apt-get (sudo when not root);
#   2. SentencePiece, from its pinned source distribution, as a static library under deps/sentencepiece.
# Idempotent: with everything there it prints one line and changes nothing.
#
#   ./scripts/install_deps.sh                install what is missing
#   ./scripts/install_deps.sh --check        install nothing; exit 1 and list what is missing
#
# Environment
#   BITDIAL_DEPS_DIR              where SentencePiece goes (default: <repository>/deps)
#   BITDIAL_SENTENCEPIECE_SDIST   a sentencepiece-0.2.1.tar.gz you already have (no download)
# Exit codes: 0 done; 1 something is missing and could not be installed; 2 usage.
set -euo pipefail

ROOT="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
readonly ROOT
readonly DEPS="${BITDIAL_DEPS_DIR:-$ROOT/deps}"

readonly PACKAGES=(
  build-essential cmake ninja-build pkg-config git ca-certificates
  libabsl-dev libprotobuf-dev protobuf-compiler libgrpc++-dev protobuf-compiler-grpc libssl-dev
  nlohmann-json3-dev libspdlog-dev libfmt-dev libcli11-dev libpcre2-dev prometheus-cpp-dev
  libgtest-dev libgmock-dev libbenchmark-dev
  python3 python3-venv python3-pip
  file  # cpack asks it which files need libraries
)
readonly NICE_TO_HAVE=(ccache)  # never an error

# Why 0.2.1: earlier releases carry CVE-2026-1260 (a hostile model file reads out of bounds); later ones fetch a newer
# Abseil and FlatBuffers from the network at configure time. Why not Debian's libsentencepiece 0.1.97: it exports its
# own protobuf 3.14 and aborts any process that also loads gRPC's.
readonly SPM_VERSION=0.2.1
readonly SPM_SHA256=8138cec27c2f2282f4a34d9a016e3374cd40e5c6e9cb335063db66a0a3b71fad
readonly SPM_RECIPE=1  # raise it when the build below changes

say() { printf 'install_deps: %s\n' "$*"; }
die() { printf 'install_deps: error: %s\n' "$*" >&2; exit 1; }

is_installed() { [[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]; }

missing_packages() {
  local package
  for package in "$@"; do is_installed "$package" || printf '%s\n' "$package"; done
}

install_packages() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    die "this is no Debian system: install the equivalents of: ${PACKAGES[*]}"
  fi
  local missing extra
  mapfile -t missing < <(missing_packages "${PACKAGES[@]}")
  [[ ${#missing[@]} -gt 0 ]] || return 0
  mapfile -t extra < <(missing_packages "${NICE_TO_HAVE[@]}")

  local as_root=()
  if [[ $EUID -ne 0 ]]; then
    command -v sudo >/dev/null ||
      die "not root and no sudo. As root, run: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq || say "apt-get update failed; trying with the lists there are"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
      >/dev/null || die "apt-get could not install: ${missing[*]}"
  if [[ ${#extra[@]} -gt 0 ]]; then
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${extra[@]}" \
        >/dev/null 2>&1 || say "without ${extra[*]} (optional)"
  fi
}

# Everything the library depends on; equal stamps mean nothing to do.
spm_stamp() {
  printf 'sentencepiece %s %s recipe %s protobuf %s compiler %s\n' "$SPM_VERSION" "$SPM_SHA256" "$SPM_RECIPE" \
    "$(protoc --version 2>/dev/null || echo none)" "$(c++ -dumpfullversion -dumpversion 2>/dev/null || echo none)"
}

has_sentencepiece() {
  [[ -f "$DEPS/sentencepiece/lib/libsentencepiece.a" && -f "$DEPS/sentencepiece/stamp" &&
     "$(cat "$DEPS/sentencepiece/stamp")" == "$(spm_stamp)" ]]
}

# Prints the path of the verified source distribution. pip is only the downloader: it honours the user's index and
# proxy settings. It wants the package's metadata, hence its build isolation fetches setuptools too.
fetch_sentencepiece() {
  local folder="$1" sdist="${BITDIAL_SENTENCEPIECE_SDIST:-}" cached="$DEPS/download/sentencepiece-$SPM_VERSION.tar.gz"
  if [[ -z "$sdist" && -f "$cached" ]]; then sdist="$cached"; fi
  if [[ -z "$sdist" ]]; then
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary=:all: \
        --dest "$folder" "sentencepiece==$SPM_VERSION" >&2 ||
      die "pip could not download sentencepiece==$SPM_VERSION. Check the network, or set" \
          "BITDIAL_SENTENCEPIECE_SDIST to a sentencepiece-$SPM_VERSION.tar.gz"
    sdist="$folder/sentencepiece-$SPM_VERSION.tar.gz"
  fi
  [[ -f "$sdist" ]] || die "no such file: $sdist"
  local got
  got="$(sha256sum "$sdist" | cut -d' ' -f1)"
  [[ "$got" == "$SPM_SHA256" ]] || die "$sdist: sha256 is $got, expected $SPM_SHA256; not using it"
  if [[ "$sdist" != "$cached" ]]; then mkdir -p "$DEPS/download" && cp "$sdist" "$cached"; fi
  printf '%s\n' "$cached"
}

build_sentencepiece() {
  local work sdist source
  work="$(mktemp -d)"
  # shellcheck disable=SC2064  # now: the variable is gone when the script ends
  trap "rm -rf '$work'" EXIT
  sdist="$(fetch_sentencepiece "$work")"
  say "building SentencePiece $SPM_VERSION (about half a minute)"
  tar -xzf "$sdist" -C "$work"
  source="$work/sentencepiece-$SPM_VERSION/sentencepiece"
  # The system protobuf, not the bundled one: two copies in one process abort it. The bundled Abseil subset stays: its
  # names are not Debian's (those live in an inline namespace), and it keeps Abseil out of the library's interface.
  {
    cmake -S "$source" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSPM_ENABLE_SHARED=OFF \
        -DSPM_ENABLE_TCMALLOC=OFF -DSPM_PROTOBUF_PROVIDER=package -DSPM_ABSL_PROVIDER=internal &&
    cmake --build "$work/build" --target sentencepiece-static
  } >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; die "SentencePiece did not build (log above)"; }

  local staged="$DEPS/sentencepiece.new"
  rm -rf "$staged"
  mkdir -p "$staged/lib" "$staged/include"
  cp "$work/build/src/libsentencepiece.a" "$staged/lib/"
  cp "$source/src/sentencepiece_processor.h" "$work/build/src/sentencepiece_model.pb.h" "$staged/include/"
  cp "$source/LICENSE" "$staged/"
  spm_stamp >"$staged/stamp"
  rm -rf "$DEPS/sentencepiece"
  mv "$staged" "$DEPS/sentencepiece"
}

check_only() {
  local missing
  mapfile -t missing < <(missing_packages "${PACKAGES[@]}")
  has_sentencepiece || missing+=("SentencePiece under $DEPS")
  [[ ${#missing[@]} -eq 0 ]] || { printf 'missing: %s\n' "${missing[@]}"; exit 1; }
  say "everything is there"
}

main() {
  case "${1:-}" in
    "") ;;
    --check) check_only; return ;;
    -h | --help) sed -n '2,/^set -euo/{/^set -euo/!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; return ;;
    *) printf 'usage: %s [--check|--help]\n' "$0" >&2; exit 2 ;;
  esac
  install_packages
  has_sentencepiece || build_sentencepiece
  say "everything is there"
}

main "$@"
