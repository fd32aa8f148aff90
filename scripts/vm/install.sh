#!/usr/bin/env bash
# Makes an Ubuntu 22.04 or 24.04 VM ready for the containers: Docker with compose and buildx from Docker's apt repository,
# and, where there is an NVIDIA GPU, the NVIDIA container toolkit from NVIDIA's. As root, or with sudo.
#
#   scripts/vm/install.sh [--driver]
#
# --driver: Ubuntu's NVIDIA driver too, where there is none or an older one than CUDA 13 needs; a reboot may follow.
#
# Checks before it changes anything. Keeps what is there and good enough, whoever installed it. A second run changes
# nothing and says so.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/vm/machine.sh

docker_apt=https://download.docker.com/linux/ubuntu
nvidia_apt=https://nvidia.github.io/libnvidia-container
nvidia_driver=580-server # of Ubuntu's restricted component; not older than driver_needed
probe_image=ubuntu:24.04 # the toolkit puts nvidia-smi into it
member=${SUDO_USER:-$(id -un)}

main() {
    with_driver=
    case "$*" in
        "") ;;
        --driver) with_driver=1 ;;
        *) fail "expected nothing or --driver; found '$*'" ;;
    esac
    scripts/vm/preflight.sh install "$@" || fail "nothing was changed; see above"
    packages ca-certificates curl git make rsync
    docker_engine
    membership
    if has_gpu; then
        [ -z "$with_driver" ] || driver
        toolkit
    fi
    restart_if_changed
    verify
    if [ ${#changes[@]} = 0 ]; then say "nothing had to be changed"; else say "done: $(printf '%s; ' "${changes[@]}" | sed 's/; $//')"; fi
}

changes=() engine_changed=
say() { echo "install: $*"; }
fail() { say "error: $*" >&2; exit 1; }
changed() { changes+=("$1"); say "$1"; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# A fresh VM updates itself in the background: its lock is waited for.
apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@"; }
apt_quietly() { # its words only where it fails
    local said
    said=$(apt "$@" 2>&1) || { echo "$said" >&2; fail "apt-get $* failed, see above"; }
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

packages() { # NAME...: installs those that are missing
    local name missing=()
    for name in "$@"; do is_installed "$name" || missing+=("$name"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    apt_quietly update
    apt_quietly install --no-install-recommends "${missing[@]}"
    changed "installed ${missing[*]}"
}

repository() { # NAME ADDRESS KEY SUITE COMPONENT: one that is there already is kept, for apt refuses two with two keys
    local name=$1 address=$2 key=$3 keyring=/etc/apt/keyrings/$1.asc work
    ! grep -qsF "$address" /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources || return 0
    work=$(mktemp -d)
    curl -fsSL --retry 3 -o "$work/key" "$key" || fail "$key cannot be fetched"
    grep -q 'BEGIN PGP PUBLIC KEY' "$work/key" || fail "$key is no armoured key: $(head -c 60 "$work/key")"
    {
        echo "Types: deb"
        echo "URIs: $address"
        echo "Suites: $4"
        [ -z "$5" ] || echo "Components: $5"
        echo "Architectures: $(dpkg --print-architecture)"
        echo "Signed-By: $keyring"
    } >"$work/sources"
    as_root install -D -m 644 "$work/key" "$keyring"
    as_root install -D -m 644 "$work/sources" "/etc/apt/sources.list.d/$name.sources"
    rm -r "$work"
    changed "added the apt repository $address"
}

is_equipped() { [ "$(as_root scripts/stack.sh mode 2>/dev/null)" = split ] && docker buildx version >/dev/null 2>&1; }

docker_engine() {
    if is_equipped; then
        say "kept Docker $(as_root docker version --format '{{.Server.Version}}'), compose $(docker compose version --short)"
        return
    fi
    local codename name in_the_way=()
    codename=$(release)
    for name in docker.io docker-compose docker-compose-v2 docker-buildx podman-docker containerd runc; do # Ubuntu's own
        ! is_installed "$name" || in_the_way+=("$name")
    done
    if [ ${#in_the_way[@]} -gt 0 ]; then
        apt_quietly remove "${in_the_way[@]}"
        changed "removed ${in_the_way[*]} (images and volumes stay)"
    fi
    repository docker "$docker_apt" "$docker_apt/gpg" "${codename##* }" stable
    packages docker-ce docker-ce-cli containerd.io docker-buildx-plugin docker-compose-plugin
    engine_changed=1
}

membership() {
    [ "$member" != root ] || return 0
    ! id -nG "$member" | grep -qw docker || return 0
    as_root usermod -aG docker "$member"
    changed "added $member to the group docker: log in again, or: newgrp docker"
}

driver() {
    local version
    version=$(gpus | head -n 1 | sed 's/.*, //') || true
    [ "${version%%.*}" = "" ] || [ "${version%%.*}" -lt "$driver_needed" ] || { say "kept the driver $version"; return 0; }
    packages ubuntu-drivers-common
    as_root ubuntu-drivers install --gpgpu "nvidia:$nvidia_driver" || fail "ubuntu-drivers could not install $nvidia_driver"
    packages "nvidia-utils-$nvidia_driver" "libnvidia-gl-$nvidia_driver" # nvidia-smi; EGL to render with
    changed "installed the NVIDIA driver $nvidia_driver"
    { as_root modprobe nvidia && gpus >/dev/null; } || fail "the driver is installed, not loaded: sudo reboot, and run this again"
}

toolkit() {
    repository nvidia-container-toolkit "$nvidia_apt/stable/deb/$(dpkg --print-architecture)" "$nvidia_apt/gpgkey" / ""
    packages nvidia-container-toolkit
    if ! grep -qs '"nvidia"' /etc/docker/daemon.json; then
        as_root nvidia-ctk runtime configure --runtime=docker
        changed "told Docker of the NVIDIA runtime, in /etc/docker/daemon.json"
    fi
    as_root docker info --format '{{json .Runtimes}}' 2>/dev/null | grep -q '"nvidia"' || engine_changed=1
}

restart_if_changed() {
    [ "$engine_changed" ] || return 0
    as_root systemctl enable --quiet docker
    as_root systemctl restart docker || fail "Docker does not start: sudo journalctl -u docker -n 50"
    changed "restarted Docker"
}

verify() {
    local said
    is_equipped || fail "Docker is installed, and cannot be used: $(as_root scripts/stack.sh mode 2>&1 | head -n 1)"
    if ! has_gpu; then
        say "verified: Docker and compose; there is no NVIDIA GPU"
        return
    fi
    said=$(as_root docker run --rm --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics "$probe_image" \
        sh -c 'nvidia-smi -L; ldconfig -p | grep -q libEGL_nvidia || echo "no libEGL_nvidia"' 2>&1) ||
        fail "a container cannot see the GPU: $said"
    [[ $said = *"GPU 0:"* ]] || fail "a container cannot see the GPU: $said"
    say "verified: a container sees $(grep -c '^GPU ' <<<"$said") GPU(s): $(grep -m 1 '^GPU 0' <<<"$said")"
    [[ $said != *"no libEGL_nvidia"* ]] || say "warning: no libEGL_nvidia in the container: cameras will be rendered in software, slowly"
}

main "$@"
