#!/usr/bin/env bash
# Gives this machine a running Docker engine (23 or newer) with buildx and compose (2.24.4 or newer). Does nothing where
# there is one. Otherwise Debian only, as root: the packages come from trixie, and nothing else does.
#   scripts/ci/engine.sh         starts it
#   scripts/ci/engine.sh stop    ends the one that answers, which must be one that this script started
set -euo pipefail
packages=(docker.io docker-cli docker-buildx docker-compose)
data=${DOCKER_DATA_ROOT:-/var/lib/docker} log=${DOCKERD_LOG:-/var/log/dockerd.log}

say() { echo "engine: $*" >&2; }
fail() { say "error: $*"; exit 1; }
at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }
compose_version() { docker compose version --short 2>/dev/null | sed 's/^v//; s/[-+~].*//'; }
answers() { docker info >/dev/null 2>&1; }

is_equipped() {
    command -v docker >/dev/null && docker buildx version >/dev/null 2>&1 && at_least "$(compose_version)" 2.24.4 &&
        { answers || command -v dockerd >/dev/null; }
}

install() {
    # shellcheck source=/dev/null
    . /etc/os-release
    [ "$(id -u)" = 0 ] || fail "there is no Docker engine, and only root may install one"
    [ "${ID:-}" = debian ] || fail "there is no Docker engine; install Docker 23 or newer with compose 2.24.4 or newer"
    say "installing ${packages[*]}"
    local mirror denied=/usr/sbin/policy-rc.d
    if [ "$VERSION_CODENAME" = bookworm ]; then
        # shellcheck disable=SC2016 # apt's own variable
        mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)
        printf '%s\n' 'Types: deb' "URIs: $mirror" 'Suites: trixie' 'Components: main' \
            'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' >/etc/apt/sources.list.d/trixie-docker.sources
        printf '%s\n' "Package: ${packages[*]}" 'Pin: release n=trixie' 'Pin-Priority: 900' '' \
            'Package: *' 'Pin: release n=trixie' 'Pin-Priority: -10' >/etc/apt/preferences.d/trixie-docker
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    local made=
    if [ ! -e "$denied" ]; then # the package must not start a daemon of its own
        printf '#!/bin/sh\nexit 101\n' >"$denied"
        chmod 755 "$denied"
        made=1
    fi
    apt-get install -qq -y --no-install-recommends "${packages[@]}" iptables ca-certificates >/dev/null
    [ -z "$made" ] || rm -f "$denied"
    hash -r
}

start() {
    if [ -d /run/systemd/system ]; then
        systemctl start docker
        return
    fi
    grep -q ' /sys/fs/cgroup[ /]' /proc/mounts || mount -t cgroup2 cgroup2 /sys/fs/cgroup
    local file pid
    for file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do # of an engine that was killed
        [ -e "$file" ] || continue
        pid=$(cat "$file")
        if ! grep -qsE '^Name:\s*(dockerd|containerd)$' "/proc/$pid/status" || grep -qsE '^State:\s*Z' "/proc/$pid/status"; then
            rm -f "$file"
        fi
    done
    say "starting dockerd"
    setsid -f dockerd --data-root "$data" >"$log" 2>&1 </dev/null
    for _ in $(seq 120); do
        ! answers || return 0
        sleep 0.5
    done
    tail -n 30 "$log" >&2
    fail "dockerd did not start"
}

stop() { # the engine that this script started, and what builds leave behind in it: it filled disks
    answers || return 0
    docker image prune --force >/dev/null 2>&1 || true
    docker builder prune --force --keep-storage 12GB >/dev/null 2>&1 || true
    kill "$(cat /var/run/docker.pid)"
}

if [ "${1:-}" = stop ]; then
    stop
    exit
fi
is_equipped || install
is_equipped || fail "the tools are still missing or too old: compose $(compose_version)"
answers || start
say "engine $(docker version --format '{{.Server.Version}}'), compose $(compose_version)"
