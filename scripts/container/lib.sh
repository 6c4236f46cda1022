# shellcheck shell=bash
# What container_check.sh and compose.sh share. Sourced after scripts/lib.sh, not run.

readonly WORK="$ROOT/build/container"
# shellcheck disable=SC2034  # for those who source this
readonly BASE=localhost/bitdial-base  # tag latest: the base of this run
# Sockets lie here, whose paths must be short; podman wants the same place every time.
RUN="/tmp/bitdial-container-$(cksum <<<"$ROOT" | cut -d' ' -f1)"
readonly RUN

podman() { "$WORK/podman" "$@"; }

# podman with storage and networks of its own, as a program, because podman-compose wants one.
write_podman() {
  mkdir -p "$WORK/networks" "$LOGS"
  # What any machine allows; podman's own defaults are above what some let root have.
  printf '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=1024:1024"]\n' >"$WORK/containers.conf"
  cat >"$WORK/podman" <<PODMAN
#!/bin/sh
# No healthcheck timers: they are systemd's, and not every machine has one.
export CONTAINERS_CONF='$WORK/containers.conf' DISABLE_HC_SYSTEMD=true
exec podman --root '$WORK/storage' --runroot '$RUN/run' --tmpdir '$RUN/tmp' --network-config-dir '$WORK/networks' \\
    --cgroup-manager cgroupfs --events-backend file --runtime crun "\$@"
PODMAN
  chmod +x "$WORK/podman"
}

remove_containers() { podman rm --all --force --time 0 >/dev/null 2>&1 || true; }

# expect WHAT GOT EXPECTED
expect() { [[ "$2" == "$3" ]] || die "$1: got \"$2\", expected \"$3\""; }

state() { podman inspect --format "{{.State.$2}}" "$1"; }

# A process that may do nothing but compute: expect_harmless CONTAINER USER
expect_harmless() {
  local status
  status="/proc/$(state "$1" Pid)/status"
  expect "user of $1" "$(awk '/^Uid/ {print $2, $3, $4, $5}' "$status")" "$2 $2 $2 $2"
  expect "capabilities of $1" "$(awk '/^Cap(Prm|Eff|Bnd|Amb)/ {print $2}' "$status" | sort -u)" 0000000000000000
  expect "no new privileges of $1" "$(awk '/^NoNewPrivs/ {print $2}' "$status")" 1
  expect "read-only root of $1" "$(podman inspect --format '{{.HostConfig.ReadonlyRootfs}}' "$1")" true
}

# Mount points are made by podman: expect_nothing_written CONTAINER
expect_nothing_written() {
  local changes
  changes="$(podman diff "$1")" || die "podman does not say what $1 has changed"  # in an argument its failure would pass
  expect "changes of the root of $1" \
      "$(grep -v -E '^C (/etc|/run)$|^A (/model|/run/secrets|/run/.containerenv)$' <<<"$changes" || true)" ""
}
