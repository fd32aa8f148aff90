# shellcheck shell=bash
# What preflight.sh and install.sh both ask of a machine. To be sourced; changes nothing.

# shellcheck disable=SC2034 # read by those who source this
driver_needed=580 # for CUDA 13: docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html

release() { # of the system, e.g. "ubuntu 24.04 noble"
    # shellcheck source=/dev/null
    (. /etc/os-release && echo "$ID ${VERSION_ID:-unknown} ${VERSION_CODENAME:-unknown}")
}

gpus_on_pci() { # how many NVIDIA display or 3D controllers there are, with or without a driver
    local device count=0
    for device in /sys/bus/pci/devices/*; do
        [ "$(cat "$device/vendor" 2>/dev/null)" = 0x10de ] || continue
        case $(cat "$device/class") in 0x03*) count=$((count + 1)) ;; esac
    done
    echo "$count"
}

gpus() { # as the driver lists them, a line each: name, memory [MiB], driver version
    nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader,nounits 2>/dev/null
}

has_gpu() { [ "$(gpus_on_pci)" -gt 0 ] || gpus >/dev/null; }
