#!/usr/bin/env bash
# Builds the image from the Dockerfile, runs it with the restrictions of compose.yaml, then compose.yaml itself, without a
# Docker daemon and without pulling an image: podman builds on a Debian that mmdebstrap makes from this machine's own package
# sources.
#
#   ./scripts/container_check.sh                   as root
#
#   --model PATH      serve this model, a folder              (default: a tiny random one, made here)
#   --backend NAME    cpu or cuda: what the image is built with         (default: cpu)
#   -h, --help        this text
#
# Ends with what was proven and what was not. Base, layers and images stay under build/container, so that a second run builds
# only what changed; remove that folder to begin anew. The first run takes some minutes and 4 GB of disk. Installs the Debian
# packages it needs. The images are not for shipping: they carry package sources, pip settings and certificates of this machine.
# Exit codes: 0 all that is listed as proven is; 1 something failed (says what); 2 usage.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/scripts/container/lib.sh"
source "$ROOT/scripts/container/base.sh"
source "$ROOT/scripts/container/bad_mounts.sh"

readonly NAME=bitdial-check
readonly HEALTH_RETRIES=3  # of the Dockerfile's HEALTHCHECK
readonly PACKAGES=(podman crun mmdebstrap netavark aardvark-dns iptables iproute2 openssl python3-venv)
readonly PODMAN_COMPOSE="podman-compose==1.6.0"  # Debian 12's 1.0.3 does not know all of compose.yaml
MODEL='' BACKEND=cpu COMMIT='' IMAGE='' LIMITS=() PROVEN=() NOT_PROVEN=()

parse_arguments() {
  while (($#)); do
    case "$1" in
      --model | --backend)
        [[ $# -ge 2 ]] || { echo "$1 needs a value; see --help" >&2; exit 2; }
        if [[ $1 == --model ]]; then MODEL="$2"; else BACKEND="$2"; fi
        shift ;;
      -h | --help) usage; exit 0 ;;
      *) echo "unknown argument: $1; see --help" >&2; exit 2 ;;
    esac
    shift
  done
  [[ $BACKEND == cpu || $BACKEND == cuda ]] || { echo "--backend is \"$BACKEND\", expected cpu or cuda" >&2; exit 2; }
  if [[ -n "$MODEL" ]]; then
    [[ -d "$MODEL" ]] || die "--model: no such folder: $MODEL"
    MODEL="$(realpath "$MODEL")"
  fi
  IMAGE="localhost/bitdial:$BACKEND"
}

proven() { say "ok: $*"; PROVEN+=("$*"); }

install_tools() {
  command -v apt-get >/dev/null || die "this is no Debian system: the base is made with mmdebstrap and apt"
  local missing=() package
  for package in "${PACKAGES[@]}"; do
    [[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] || missing+=("$package")
  done
  if ((${#missing[@]} > 0)) || [[ -z "$(package_sources)" ]]; then
    quiet container-apt apt-get update -qq || say "apt-get update failed; trying with the lists there are"
  fi
  if ((${#missing[@]} > 0)); then
    say "installing ${missing[*]}"
    apt_install "${missing[@]}" || die "apt-get could not install ${missing[*]}"
  fi
  write_podman
  say "$(podman --version), $(crun --version | head -n 1)"
}

# The rest runs with mounts of its own: what podman mounts is gone with this script. A cgroup v2 beside v1 goes too, because
# crun wants one or the other.
enter_own_mounts() {
  [[ -z "${CONTAINER_CHECK_INSIDE:-}" ]] || return 0
  unshare --mount true 2>/dev/null || die "this machine does not let root make a mount namespace (unshare --mount)"
  CONTAINER_CHECK_INSIDE=yes exec unshare --mount --propagation private "$0" "$@"
}

build_image() {
  local began=$SECONDS
  COMMIT="$(git -C "$ROOT" describe --always --abbrev=12 --exclude='*' --dirty 2>/dev/null || echo unknown)"
  # chroot isolation: works where containers may not be nested. docker: the format that holds a HEALTHCHECK.
  quiet "container-build-$BACKEND" podman build --isolation chroot --layers --format docker --pull-never \
      --build-arg BASE="$BASE" --build-arg BACKEND="$BACKEND" --build-arg COMMIT="$COMMIT" --tag "$IMAGE" "$ROOT" ||
    die "the image was not built"
  say "$IMAGE of commit $COMMIT in $(seconds_text $((SECONDS - began)))"
  proven "the Dockerfile builds with BACKEND=$BACKEND on a Debian 12 made here"
}

inspect() { podman image inspect --format "$1" "$IMAGE"; }

look_at_image() {
  local size files
  expect "user" "$(inspect '{{.Config.User}}')" 65532:65532
  expect "entry point" "$(inspect '{{json .Config.Entrypoint}}')" '["bitdial"]'
  expect "stop signal" "$(inspect '{{.Config.StopSignal}}')" SIGTERM
  expect "ports" "$(inspect '{{json .Config.ExposedPorts}}')" '{"50051/tcp":{}}'
  [[ "$(inspect '{{json .HealthCheck}}')" == *'"bitdial","client","--health"'* ]] ||
    die "the image has no HEALTHCHECK by bitdial client --health: $(inspect '{{json .HealthCheck}}')"
  # As root, so that nothing is hidden.
  files="$(run_image --rm --user 0:0 --entrypoint find "$IMAGE" / -xdev -perm /6000 -type f)"
  expect "files that run as another user" "$files" ""
  files="$(run_image --rm --user 0:0 --entrypoint find "$IMAGE" /var/lib/apt/lists /src /package 2>/dev/null || true)"
  expect "files of the build" "$files" /var/lib/apt/lists
  run_image --rm "$IMAGE" --version | sed 's/^/   /'
  expect "commit of the executable" "$(run_image --rm "$IMAGE" --version | awk '$1 == "commit" {print $2}')" "$COMMIT"
  size=$(($(inspect '{{.Size}}') / 1000000))
  say "$size MB, of which the base is $(($(podman image inspect --format '{{.Size}}' "$BASE") / 1000000))"
  proven "user 65532, entry point, stop signal, port, HEALTHCHECK; no setuid file, no leftovers of the build ($size MB)"
}

# podman run as compose.yaml says, without a network but loopback. The HEALTHCHECK is the image's own, with no time in which
# failures do not count.
run_image() {
  local health
  health="$(inspect '{{json .HealthCheck.Test}}')"
  podman run --read-only --read-only-tmpfs=false --cap-drop all --security-opt no-new-privileges --network none \
      --log-driver k8s-file --health-cmd "${health/\"CMD\",/}" --health-start-period 0s \
      --health-retries "$HEALTH_RETRIES" "${LIMITS[@]}" "$@"
}

# Where cgroups cannot be made, the limits are left out and named. podman's own failures are 125 to 127; any other code is
# that of bitdial, which ran.
choose_limits() {
  local code=0 why
  LIMITS=(--memory 2g --pids-limit 512)
  run_image --rm "$IMAGE" --version >"$LOGS/container-limits.log" 2>&1 || code=$?
  why="$(tail -n 1 "$LOGS/container-limits.log")"
  ((code != 0)) || return 0
  ((code >= 125 && code <= 127)) || die "bitdial --version under ${LIMITS[*]}: exit code $code, expected 0: $why"
  LIMITS=(--cgroups disabled)
  run_image --rm "$IMAGE" --version >"$LOGS/container-limits.log" 2>&1 ||
    die "the image does not run without limits either: $(tail -n 1 "$LOGS/container-limits.log")"
  NOT_PROVEN+=("limits of memory and processes: podman runs the image only without them ($why)")
}

logs() { podman logs "$NAME" 2>&1; }

# What Docker would do every 10 s.
is_healthy() { podman healthcheck run "$NAME" >/dev/null 2>&1; }

# start MODEL_MOUNT...: the image's own command, until it is healthy.
start() {
  run_image --detach --name "$NAME" --env BITDIAL_DRAIN_TIMEOUT_S=60 "$@" "$IMAGE" >/dev/null
  local deadline=$((SECONDS + 120))
  until is_healthy; do
    if [[ "$(state "$NAME" Running)" != true ]] || ((SECONDS > deadline)); then
      logs | tail -n 20 >&2
      die "the container did not become healthy (log above)"
    fi
    sleep 0.2
  done
}

# A second container, in the first one's network.
client() {
  podman run --rm --read-only --read-only-tmpfs=false --cap-drop all --security-opt no-new-privileges \
      --network "container:$NAME" --cgroups disabled "$IMAGE" client "$@"
}

mount_of() { printf 'type=bind,source=%s,target=/model,readonly' "$1"; }

tiny_model() { python3 "$ROOT/tests/testing/make_tiny_model.py" "$1" --context 8192; }

serve_a_model() {
  local model="${MODEL:-$WORK/models/tiny}" answer
  start --mount "$(mount_of "$model")"
  expect "health" "$(state "$NAME" Health.Status)" healthy
  answer="$(logs | grep '^Serving')" || die "no ready line in the log"
  say "$answer"
  client --prompt "Once upon a time" --max-tokens 16 --temperature 0 --json >"$LOGS/container-answer.json" ||
    die "no answer from the container"
  answer="$(python3 -c 'import json, sys; a = json.load(open(sys.argv[1])); print(a["completion_tokens"], "tokens at", a["bits"], "bits")' \
      "$LOGS/container-answer.json")"
  say "$answer"

  expect_harmless "$NAME" 65532
  expect_nothing_written "$NAME"
  # 0.0.0.0:50051, listening
  grep -qE ' 0+:C383 .* 0A ' "/proc/$(state "$NAME" Pid)/net/tcp" "/proc/$(state "$NAME" Pid)/net/tcp6" ||
    die "the server does not listen on every interface of the container"
  proven "runs as 65532 without capabilities on a read-only root without any tmpfs, and writes nothing"
  proven "container.json listens on the container's interfaces; another container's client is answered; HEALTHCHECK: healthy"
  stop_and_expect_0
  remove_containers
  proven "SIGTERM to process 1 ends it with exit code 0"
}

stop_and_expect_0() {
  podman stop --time 70 "$NAME" >/dev/null
  expect "exit code after SIGTERM" "$(state "$NAME" ExitCode)" 0
}

drain() {
  start --mount "$(mount_of "$WORK/models/tiny")"
  : >"$LOGS/container-drain.log"
  client --prompt "Once" --max-tokens 8000 --ignore-eos >"$LOGS/container-drain.log" 2>&1 &
  local asking=$! deadline=$((SECONDS + 60)) log
  until [[ -s "$LOGS/container-drain.log" ]]; do
    ((SECONDS < deadline)) || die "no first token within a minute"
    sleep 0.05
  done
  stop_and_expect_0
  wait "$asking" || die "the request that ran when SIGTERM came was cut off: $(tail -n 1 "$LOGS/container-drain.log")"
  grep -q '8000 tokens at' "$LOGS/container-drain.log" || die "the request that ran when SIGTERM came is not whole"
  # Else it may have ended before.
  log="$(logs)" || die "no log of the container"
  [[ "$log" == *"draining for up to"*"ended: status=OK"*" tokens=8000 "* ]] ||
    die "the server's log, expected the signal and then the request's end: $(tail -n 4 <<<"$log")"
  remove_containers
  proven "a request that runs when SIGTERM comes is answered to its end"
}

# What compose.yaml calls the proxy's image, made of Debian's package, because nothing is pulled.
make_proxy_image() {
  local name folder="$WORK/proxy"
  name="docker.io/library/$(sed -nE 's/^ *image: (haproxy:.*)$/\1/p' "$ROOT/compose.yaml")"
  mkdir -p "$folder"
  printf '%s\n' "FROM $BASE" \
      "RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/*" \
      'USER 99:99' 'ENTRYPOINT ["haproxy", "-W", "-db"]' 'CMD ["-f", "/usr/local/etc/haproxy/haproxy.cfg"]' \
      >"$folder/Dockerfile"
  quiet container-proxy podman build --isolation chroot --layers --pull-never --tag "$name" "$folder" || die "no image of haproxy"
  podman tag "$IMAGE" localhost/bitdial:latest
}

# A virtual environment with podman-compose and a gRPC client.
make_venv() {
  local stamp
  stamp="$(echo "$PODMAN_COMPOSE" | cat - "$ROOT/tests/e2e/requirements.txt")"
  if [[ "$(cat "$WORK/venv/stamp" 2>/dev/null)" == "$stamp" ]]; then return 0; fi
  rm -rf "$WORK/venv"
  quiet container-venv python3 -m venv "$WORK/venv" &&
    quiet container-pip "$WORK/venv/bin/python" -m pip install --disable-pip-version-check "$PODMAN_COMPOSE" \
        -r "$ROOT/tests/e2e/requirements.txt" || return 1
  printf '%s\n' "$stamp" >"$WORK/venv/stamp"
}

try_compose() {
  local code=0
  make_proxy_image
  if ! make_venv; then
    NOT_PROVEN+=("compose.yaml: pip could not install $PODMAN_COMPOSE")
    return 0
  fi
  unshare --net "$ROOT/scripts/container/compose.sh" "${MODEL:-$WORK/models/tiny}" || code=$?
  case $code in
    0) proven "compose.yaml runs: the proxy answers over TLS at the published port, on 127.0.0.1 alone; the server has no" \
        "port and no way out; both are harmless and stop with exit code 0" ;;
    3) NOT_PROVEN+=("compose.yaml: this machine makes no container networks or no cgroups") ;;
    *) exit 1 ;;
  esac
}

summary() {
  NOT_PROVEN+=(
    "the images debian:12-slim and haproxy:2.6: nothing was pulled; both were made here of Debian's packages"
    "Docker itself: its builder, its healthcheck timer, its restarts, and that the proxy waits for a healthy server"
    "another architecture than $(uname -m)"
  )
  if [[ $BACKEND == cuda ]]; then
    NOT_PROVEN+=("a GPU: the CUDA image ran without one, and the backend has no kernel yet")
  else
    NOT_PROVEN+=("the CUDA image: --backend cuda builds and runs it, without a GPU")
  fi
  heading "Proven"
  printf '   - %s\n' "${PROVEN[@]}"
  heading "Not proven"
  printf '   - %s\n' "${NOT_PROVEN[@]}"
  heading "passed in $(seconds_text $SECONDS)"
}

main() {
  parse_arguments "$@"
  ((EUID == 0)) || die "containers are run as root here: sudo $0"
  enter_own_mounts "$@"
  trap 'stop_quiet; remove_containers' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  umask 022  # user 65532 has to read what is made here
  if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi

  heading "1/7 Tools"
  install_tools
  remove_containers
  heading "2/7 Base"
  make_base
  heading "3/7 Build"
  build_image
  heading "4/7 Look at the image"
  choose_limits
  look_at_image
  heading "5/7 Serve"
  chmod -R u+rwX "$WORK/models" 2>/dev/null || true
  rm -rf "$WORK/models"
  mkdir -p "$WORK/models"
  tiny_model "$WORK/models/tiny"
  serve_a_model
  drain
  heading "6/7 Bad mounts"
  refuse_bad_mounts
  heading "7/7 compose.yaml"
  try_compose
  summary
}

main "$@"
