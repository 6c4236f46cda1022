# shellcheck shell=bash
# What the image does with a model that is not there, not readable or not whole. Sourced by container_check.sh, not run.

# bad_mount WHAT MESSAGE PODMAN_ARGUMENTS...: the container ends with exit code 3 and the message; held open, it is unhealthy.
bad_mount() {
  local what="$1" message="$2" deadline=$((SECONDS + 60)) attempt
  shift 2
  run_image --detach --name "$NAME" "$@" "$IMAGE" >/dev/null
  while [[ "$(state "$NAME" Running)" == true ]]; do
    ((SECONDS < deadline)) || die "model $what: still running after a minute: $(logs | tail -n 1)"
    sleep 0.1
  done
  expect "exit code of a model $what" "$(state "$NAME" ExitCode)" 3
  [[ "$(logs | tail -n 1)" == *"$message"* ]] || die "model $what: the message is $(logs | tail -n 1), expected $message"
  say "model $what: exit code 3, $(logs | tail -n 1)"
  podman rm "$NAME" >/dev/null

  # As a restart policy would hold it, with the server gone.
  run_image --detach --name "$NAME" "$@" --entrypoint sh "$IMAGE" -c \
      'bitdial serve /model --config /usr/share/bitdial/configs/container.json; exec sleep 600' >/dev/null
  for ((attempt = 0; attempt < HEALTH_RETRIES; ++attempt)); do
    if is_healthy; then die "model $what: HEALTHCHECK passes"; fi
  done
  expect "health with a model $what" "$(state "$NAME" Health.Status)" unhealthy
  remove_containers
}

refuse_bad_mounts() {
  local models="$WORK/models"
  copy_of_tiny() { cp -r "$models/tiny" "$models/$1"; }
  mkdir "$models/empty" "$models/locked"
  chmod 000 "$models/locked"
  copy_of_tiny unreadable
  chmod 000 "$models/unreadable/model.safetensors"
  copy_of_tiny truncated
  truncate --size=-1000 "$models/truncated/model.safetensors"
  copy_of_tiny no_weights
  rm "$models/no_weights/model.safetensors"
  copy_of_tiny missing_shard
  mv "$models/missing_shard/model.safetensors" "$models/missing_shard/model-00001-of-00002.safetensors"
  echo '{"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors",
                        "model.embed_tokens.weight": "model-00002-of-00002.safetensors"}}' \
      >"$models/missing_shard/model.safetensors.index.json"
  copy_of_tiny half_config
  truncate --size=100 "$models/half_config/config.json"
  copy_of_tiny snapshot
  ln -sf ../../blobs/1f "$models/snapshot/config.json"  # of the Hugging Face cache, without its blobs

  bad_mount "that is not mounted" "/model: no such file or folder"
  local case
  for case in "empty|has no config.json" "locked|/model: cannot open: Permission denied (this process runs as user 65532" \
      "unreadable|/model/model.safetensors: cannot open: Permission denied (this process runs as user 65532" \
      "truncated|(truncated?)" "no_weights|no weights" "missing_shard|model-00002-of-00002.safetensors" \
      "half_config|/model/config.json" "snapshot|/model/config.json: is a link to ../../blobs/1f, which is not there"; do
    bad_mount "${case%%|*}" "${case#*|}" --mount "$(mount_of "$models/${case%%|*}")"
  done
  proven "a model that is missing, empty, unreadable, half copied or of dangling links (9 cases): exit code 3, a message; \
HEALTHCHECK with the start period set to 0: unhealthy (with the image's 10 minutes, Docker says starting that long)"
}
