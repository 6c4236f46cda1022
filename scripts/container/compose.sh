#!/usr/bin/env bash
# Runs compose.yaml as it is, with podman-compose, and asks the server through the proxy, over TLS at the published port.
# container_check.sh calls it with the images built, in a mount and a network namespace of its own; it is of no use alone.
#
#   compose.sh MODEL
#
# Exit codes: 0 it works; 1 it does not (says what); 2 usage; 3 this machine makes no container networks or no cgroups.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source "$ROOT/scripts/container/lib.sh"

readonly PYTHON="$WORK/venv/bin/python"
readonly SERVER=bitdial_bitdial_1 PROXY=bitdial_proxy_1  # as podman-compose names them

compose() {
  "$PYTHON" -m podman_compose --podman-path "$WORK/podman" \
      --file "$ROOT/compose.yaml" "$@" >>"$LOGS/compose.log" 2>&1 ||
    { tail -n 30 "$LOGS/compose.log" >&2; die "podman-compose $1 failed (above)"; }
}

make_certificate() {
  mkdir -p "$WORK/certificates"
  (cd "$WORK/certificates" && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
      -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem 2>/dev/null && cat cert.pem key.pem >bitdial.pem &&
    chmod 644 bitdial.pem)
}

ask() {
  PYTHONPATH="$ROOT/tests/e2e" BITDIAL_PYTHON="" "$PYTHON" - "$WORK/certificates/cert.pem" <<'ASK' 2>>"$LOGS/compose.log"
import pathlib, sys, tempfile
import grpc, grpc_python
with tempfile.TemporaryDirectory() as folder:
    pb, pb_grpc = grpc_python.make_stubs(folder)
credentials = grpc.ssl_channel_credentials(pathlib.Path(sys.argv[1]).read_bytes())
with grpc.secure_channel("127.0.0.1:8443", credentials, [("grpc.ssl_target_name_override", "localhost")]) as channel:
    request = pb.GenerateRequest(text="Once upon a time", params=pb.RequestParams(stopping=pb.StoppingParams(max_tokens=16, ignore_eos=True)))
    messages = list(pb_grpc.InferenceServiceStub(channel).Generate(request, wait_for_ready=True, timeout=120))
print(messages[-1].finish.usage.completion_tokens, "tokens through the proxy")
ASK
}

# connects ADDRESS PORT [COMMAND...]: whether something accepts a connection there, tried under the command.
connects() {
  local address="$1" port="$2"
  shift 2
  # shellcheck disable=SC2016  # the inner bash expands them
  "$@" timeout 5 bash -c ': <>"/dev/tcp/$0/$1"' "$address" "$port" 2>/dev/null
}

# Each "no connection" comes with one that there is, so that it means what it says.
expect_no_way_out() {
  local pid published routes elsewhere host
  published="$(podman port "$SERVER")" || die "podman does not say which ports of $SERVER are published"
  expect "published ports of the server" "$published" ""
  pid="$(state "$SERVER" Pid)" || die "podman does not say which process $SERVER is"
  routes="$(awk '$2 == "00000000"' "/proc/$pid/net/route")" || die "the server's routes cannot be read"
  expect "routes of the server to elsewhere" "$routes" ""
  elsewhere="$(podman inspect --format '{{(index .NetworkSettings.Networks "bitdial_outside").IPAddress}}' "$PROXY")" ||
    die "podman does not say which address $PROXY has outside"
  connects "$elsewhere" 8443 || die "the proxy does not accept at its address outside, $elsewhere:8443"
  connects 127.0.0.1 50051 nsenter --target "$pid" --net || die "nothing accepts at 127.0.0.1:50051 in the server's network"
  if connects "$elsewhere" 8443 nsenter --target "$pid" --net; then
    die "the server has a way out: from its network, $elsewhere:8443 is reached"
  fi

  expect "published ports of the proxy" "$(podman port "$PROXY")" "8443/tcp -> 127.0.0.1:8443"
  host="$(ip -4 -oneline address show scope global | awk '{sub("/.*", "", $4); print $4; exit}')"
  [[ -n "$host" ]] || die "the host has no address but loopback, expected that of a bridge"
  connects 127.0.0.1 8443 || die "nothing accepts at 127.0.0.1:8443"
  if connects "$host" 8443; then die "the published port is also at $host:8443, expected 127.0.0.1 alone"; fi
}

main() {
  [[ $# -eq 1 ]] || { usage >&2; exit 2; }
  export MODEL="$1" CERTIFICATES="$WORK/certificates"
  local answer
  : >"$LOGS/compose.log"
  ip link set lo up
  podman network rm --force probe bitdial_inside bitdial_outside >/dev/null 2>&1 || true
  if ! podman network create --internal probe >>"$LOGS/compose.log" 2>&1 ||
    ! podman run --rm --network probe --memory 64m "$BASE" true >>"$LOGS/compose.log" 2>&1; then
    tail -n 1 "$LOGS/compose.log"
    exit 3
  fi
  podman network rm probe >/dev/null
  trap 'remove_containers; podman network rm --force bitdial_inside bitdial_outside >/dev/null 2>&1 || true' EXIT

  make_certificate
  compose up --detach --no-build
  answer="$(ask)" || die "no answer through the proxy; the end of its log: $(podman logs "$PROXY" 2>&1 | tail -n 3)"
  say "$answer"
  expect_harmless "$SERVER" 65532
  expect_nothing_written "$SERVER"
  expect_harmless "$PROXY" 99
  expect_no_way_out
  compose stop
  expect "exit code of the proxy" "$(state "$PROXY" ExitCode)" 0
  expect "exit code of the server" "$(state "$SERVER" ExitCode)" 0
  compose down
}

main "$@"
