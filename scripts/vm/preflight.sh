#!/usr/bin/env bash
# Says what this machine has and lacks, with a remedy for each lack. Changes nothing; needs bash and an Ubuntu's base.
#
#   [POLICY=…] [MODE=…] [CKPT=…] scripts/vm/preflight.sh [install|run] [--driver]
#
# install: what scripts/vm/install.sh builds on (--driver: it will install one). run: what an evaluation needs. Default:
# both. Exits with 1 where something would stop it. On a machine that is set up `make doctor` looks further.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/vm/machine.sh
. scripts/defaults.sh

cuda_images_gb=35 # estimated: three images, their base, pip's and the builder's caches
cpu_images_gb=8   # measured: 6, and what pip caches
checkpoint_gb=12  # published: 11.6
results_gb=2      # 2000 episodes with their videos
model_gib=8       # measured on a CPU: 7.1 at the peak of loading, and the system
simulator_gib=2   # measured, each

stage=both driver_comes=
for word in "$@"; do
    case $word in
        install | run) stage=$word ;;
        --driver) driver_comes=1 ;;
        *) echo "error: expected install, run or --driver; found '$word'" >&2; exit 2 ;;
    esac
done
mode=${MODE:-split} ckpt=${CKPT:-}
data_home=${OPENPI_DATA_HOME:-$HOME/.cache/openpi}
case $POLICY in pi0*_tiny | scripted | zero | random | replay:* | *://*) is_large= ;; *) is_large=1 ;; esac

main() {
    case $stage in
        install) checks=(architecture system administrator gpu disk repositories) ;;
        run) checks=(architecture gpu egl memory disk programs engine gpu_in_containers downloads) ;;
        both) checks=(architecture system administrator gpu egl memory disk programs engine gpu_in_containers repositories downloads) ;;
    esac
    for check in "${checks[@]}"; do "$check"; done
    echo "$((good + warnings + errors)) checks: $errors errors, $warnings warnings"
    [ "$errors" = 0 ]
}

good=0 errors=0 warnings=0
ok() { good=$((good + 1)); echo "ok      $1: $2"; }
warning() { warnings=$((warnings + 1)); printf 'warning %s: %s\n        fix: %s\n' "$@"; }
error() { errors=$((errors + 1)); printf 'error   %s: %s\n        fix: %s\n' "$@"; }
for_containers() { [ "$mode" != local ]; }

architecture() {
    local found
    found="$(uname -m), Linux $(uname -r)"
    case $found in
        x86_64*) ok architecture "$found" ;;
        *) error architecture "$found; locks/cuda.txt is for x86_64" "choose an x86_64 machine type" ;;
    esac
}

system() {
    local found known="scripts/vm/install.sh knows Ubuntu 22.04 and 24.04"
    found=$(release)
    case $found in
        "ubuntu 22.04 "* | "ubuntu 24.04 "*) ok system "$found" ;;
        *)
            local fix="create the VM from an Ubuntu 24.04 image, or install Docker and the NVIDIA container toolkit yourself"
            if [ "$stage" = install ]; then error system "$found; $known" "$fix"; else warning system "$found; $known" "$fix"; fi
            ;;
    esac
}

administrator() {
    if [ "$(id -u)" = 0 ]; then
        ok administrator root
    elif ! command -v sudo >/dev/null; then
        error administrator "$(id -un) is not root, and there is no sudo" "log in as root"
    elif sudo -n true 2>/dev/null; then
        ok administrator "$(id -un), sudo without a password"
    else
        warning administrator "$(id -un); sudo asks for a password" "type it when install.sh asks"
    fi
}

gpu() {
    local count found version said
    count=$(gpus_on_pci)
    if found=$(gpus) && [ "$found" ]; then
        version=$(head -n 1 <<<"$found" | sed 's/.*, //')
        found=$(cut -d, -f1,2 <<<"$found" | sed 's/$/ MiB/' | paste -sd ';' | sed 's/;/; /g')
        if [ "${version%%.*}" -ge "$driver_needed" ]; then
            ok gpu "$found; driver $version"
        elif [ "$driver_comes" ]; then
            ok gpu "$found; driver $version, to be replaced"
        else
            error gpu "$found; driver $version; CUDA 13 needs $driver_needed or newer" "scripts/vm/install.sh --driver, then reboot"
        fi
    elif [ "$count" -gt 0 ] && [ "$driver_comes" ]; then
        ok gpu "$count on PCI, a driver to come"
    elif [ "$count" -gt 0 ] && ! command -v nvidia-smi >/dev/null; then
        error gpu "$count on PCI, no driver (nvidia-smi: command not found)" "scripts/vm/install.sh --driver, then reboot"
    elif [ "$count" -gt 0 ]; then
        said=$(nvidia-smi 2>&1 | head -n 1) || true
        error gpu "$count on PCI, but: $said" "sudo reboot; if it stays so, scripts/vm/install.sh --driver"
    elif [ "$is_large" ] && [ "$stage" != install ]; then
        error gpu "no NVIDIA GPU, and POLICY=$POLICY needs one" "a machine type with an L4, A100 or H100; or POLICY=scripted"
    elif [ "$is_large" ]; then
        warning gpu "no NVIDIA GPU; the NVIDIA container toolkit is left out" "run install.sh again once there is one"
    else
        ok gpu "none; POLICY=$POLICY needs none"
    fi
}

egl() { # Ubuntu's drivers for computing come without it
    gpus >/dev/null || return 0
    if [ -n "$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p | grep 'libEGL_nvidia\.so\.0' || true)" ]; then
        ok egl "libEGL_nvidia.so.0"
    else
        warning egl "the driver has no libEGL_nvidia.so.0: cameras will be rendered in software, slowly" \
            "sudo apt-get install -y libnvidia-gl-$(gpus | head -n 1 | sed 's/.*, //; s/\..*//')-server"
    fi
}

memory() {
    local found least=$((simulator_gib + ${is_large:+$model_gib} + 0))
    found=$(awk '/^MemTotal/ { printf "%d", ($2 + 524288) / 1048576 }' /proc/meminfo)
    if [ "$found" -lt "$least" ]; then
        error memory "$found GiB; $least are needed for one simulator${is_large:+ and the model}" "a larger machine type"
    else
        ok memory "$found GiB, room for $(((found - least) / simulator_gib + 1)) simulators${is_large:+ beside the model}"
    fi
}

has_images() { docker image inspect "pirig/server:${PIRIG_TAG:-dev}" >/dev/null 2>&1; }
has_checkpoint() { [ -n "$ckpt" ] || [ -z "$is_large" ] || [ -d "$data_home/openpi-assets/checkpoints/$POLICY" ]; }

disk() { # each need goes to the file system that its folder is, or will be, on
    local folder name amount need device needs=() docker_root images_gb=$cpu_images_gb
    ! has_gpu || images_gb=$cuda_images_gb
    docker_root=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null) && [ "$docker_root" ] || docker_root=/var/lib/docker
    for_containers && ! has_images && needs+=("$docker_root images $images_gb")
    has_checkpoint || needs+=("$data_home checkpoint $checkpoint_gb")
    needs+=("$PWD results $results_gb")
    local -A gb=() what=() free=() mount=()
    for need in "${needs[@]}"; do
        read -r folder name amount <<<"$need"
        while [ ! -e "$folder" ]; do folder=$(dirname "$folder"); done
        device=$(stat -c %d "$folder")
        mount[$device]=$(df --output=target "$folder" | tail -n 1)
        gb[$device]=$((${gb[$device]:-0} + amount))
        what[$device]="${what[$device]:+${what[$device]}, }$name $amount"
        free[$device]=$(df --output=avail -B 1000000000 "$folder" | tail -n 1 | tr -d ' ')
    done
    for device in "${!gb[@]}"; do
        local found="${free[$device]} GB free on ${mount[$device]}, ${gb[$device]} needed (${what[$device]})"
        if [ "${free[$device]}" -ge "${gb[$device]}" ]; then
            ok disk "$found"
        else
            error disk "$found: No space left on device" "a larger disk; or OPENPI_DATA_HOME=, Docker's data-root on another"
        fi
    done
}

programs() {
    local missing=() program
    for program in make git flock; do command -v "$program" >/dev/null || missing+=("$program"); done
    if [ ${#missing[@]} = 0 ]; then ok programs "make, git, flock"; else
        error programs "missing: ${missing[*]}" "scripts/vm/install.sh"
    fi
}

engine() { # scripts/stack.sh knows what it needs of one
    for_containers || { ok engine "not asked for: MODE=local"; return; }
    local said refusal
    said=$(scripts/stack.sh mode 2>&1) || true
    if [[ $said = *split ]] && docker buildx version >/dev/null 2>&1; then
        ok engine "Docker $(docker version --format '{{.Server.Version}}'), compose $(docker compose version --short)"
    elif [[ $said = *split ]]; then
        error engine "docker has no buildx plugin" "scripts/vm/install.sh"
    elif refusal=$(docker info 2>&1 || true) && [[ $refusal = *[Pp]"ermission denied"* ]]; then
        error engine "permission denied while trying to connect to the Docker daemon socket" \
            "sudo usermod -aG docker $(id -un), then log in again (or: newgrp docker)"
    else
        error engine "$(sed -n 's/^pirig: running without containers: //p' <<<"$said")" "scripts/vm/install.sh"
    fi
}

gpu_in_containers() {
    for_containers && gpus >/dev/null || return 0
    if docker info --format '{{json .Runtimes}}' 2>/dev/null | grep -q '"nvidia"'; then
        ok "GPU in containers" "the engine has an NVIDIA runtime"
    else
        error "GPU in containers" 'the engine has no NVIDIA runtime: could not select device driver "nvidia"' "scripts/vm/install.sh"
    fi
}

answers() { # URL: whatever it says
    if command -v curl >/dev/null; then curl -s -o /dev/null --max-time 10 "$1"; else
        local host=${1#*://}
        timeout 10 bash -c "exec 3<>/dev/tcp/${host%%/*}/443" 2>/dev/null
    fi
}

reach() { # CHECK URL...
    local name=$1 url silent=()
    shift
    for url in "$@"; do answers "$url" || silent+=("$url"); done
    if [ ${#silent[@]} = 0 ]; then ok "$name" "$*"; else
        error "$name" "no answer from ${silent[*]}" "open outgoing HTTPS in the VM's network, or set https_proxy"
    fi
}

repositories() {
    if [ "$stage" = both ] && [[ $(scripts/stack.sh mode 2>/dev/null) = split ]]; then return; fi
    reach repositories https://download.docker.com https://nvidia.github.io
}

downloads() {
    local urls=()
    for_containers && ! has_images && [ -z "${BASE_IMAGE:-}" ] && urls+=(https://registry-1.docker.io/v2/)
    has_checkpoint || urls+=("${GOOGLE_BASE_URL:-https://storage.googleapis.com}")
    if [ ${#urls[@]} = 0 ]; then ok downloads "nothing is missing"; else reach downloads "${urls[@]}"; fi
}

main
