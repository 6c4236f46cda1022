# shellcheck shell=bash
# The base of the image: a Debian 12 made here. Sourced by container_check.sh, not run.

# The Debian package sources of this machine, one line each.
package_sources() {
  # shellcheck disable=SC2016  # apt expands them
  apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' |
    awk '$5 == "Debian" {print $1, $2, $3, $4}' | sort -u
}

# What debian:12-slim is, and how this machine reaches its networks: proxies, pip settings, certificates of its own.
make_base() {
  local sources stamp
  sources="$(package_sources)"
  [[ -n "$sources" ]] || die "apt knows no Debian package source, also after apt-get update"
  grep -q ' bookworm ' <<<"$sources" || die "the image is built on Debian 12, and this machine's sources are: $sources"
  stamp="$(sha256sum <<<"$sources" | cut -c1-16)"
  if podman image exists "$BASE:$stamp"; then
    say "made before: $BASE:$stamp"
  else
    local settings="$WORK/settings" path
    rm -rf "$settings"
    mkdir -p "$settings/etc/apt/apt.conf.d" "$settings/usr/local/share/ca-certificates"
    printf '%s\n' "$sources" >"$settings/sources.list"
    apt-config dump --format '%F "%v";%n' Acquire::http::Proxy Acquire::https::Proxy \
        >"$settings/etc/apt/apt.conf.d/90-proxy"
    for path in /etc/pip.conf /usr/local/share/ca-certificates/*.crt; do
      if [[ -f "$path" ]]; then cp "$path" "$settings$path"; fi
    done
    quiet mmdebstrap mmdebstrap --variant=minbase --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' --customize-hook="copy-in $settings/etc $settings/usr /" \
        bookworm "$WORK/base.tar" "$settings/sources.list" || die "mmdebstrap failed"
    podman import --quiet "$WORK/base.tar" "$BASE:$stamp" >/dev/null
    rm "$WORK/base.tar"
  fi
  podman tag "$BASE:$stamp" "$BASE"
  say "Debian $(podman run --rm --network none --cgroups disabled "$BASE" cat /etc/debian_version)"
}
