#!/usr/bin/env bash
# Evaluates in containers, as the calling user, and exits with the evaluation's code: 0 complete, 3 episodes missing, …
#
#   [SUITE=…] [POLICY=…] [TRIALS=…] [CKPT=DIR] [QUANTIZE=w4a8] [SERVER_ARGS=…] [CLIENT_ARGS=…] [LIVE=PORT]
#                                          scripts/stack.sh split|headless
#   scripts/stack.sh serve|build|down|check
#   scripts/stack.sh prepare               the pack of a quantized server, where it is not there yet
#   scripts/stack.sh compose WORDS...      docker compose, as the rest calls it; FANOUT=FILE is one more compose file
#   scripts/stack.sh mode [all]            prints split where containers can be used, stack for all suites on several
#                                          GPUs, else local
set -euo pipefail
cd "$(dirname "$0")/.."
needed=2.24.4 # the first compose that knows !override

say() { echo "pirig: $*" >&2; }
fail() { say "error: $*"; exit 2; }

what_is_missing() {
    local version
    command -v docker >/dev/null || { echo "there is no docker"; return; }
    version=$(docker compose version --short 2>/dev/null | sed 's/^v//; s/[-+~].*//')
    [ -n "$version" ] || { echo "docker has no compose plugin"; return; }
    [ "$(printf '%s\n' "$needed" "$version" | sort -V | head -n 1)" = "$needed" ] ||
        { echo "docker compose is $version, and $needed is needed"; return; }
    docker info >/dev/null 2>&1 || echo "no Docker engine answers"
}

has_python() { # for `pirig stack`, which spreads suites over GPUs
    "${PYTHON:-python3}" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null ||
        { say "one GPU of several: the others need Python 3.11 or 3.12 with venv (PYTHON=)"; return 1; }
}

if [ "${1:-}" = mode ]; then
    missing=$(what_is_missing)
    if [ "$missing" ]; then
        say "running without containers: $missing"
        echo local
    elif [ "${2:-}" = all ] && [ "$(nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU')" -gt 1 ] && has_python; then
        say "running in containers, on all GPUs (MODE=split uses one)"
        echo stack
    else
        say "running in containers (MODE=local runs without)"
        echo split
    fi
    exit
fi

missing=$(what_is_missing)
[ -z "$missing" ] || fail "$missing; MODE=local needs no containers"
has_gpu=$(docker info --format '{{json .Runtimes}}' | grep -c '"nvidia' || true)
. scripts/defaults.sh
export CKPT=${CKPT:-} CLIENT_ARGS=${CLIENT_ARGS:-}
export COMPOSE_FILE=${COMPOSE_FILE:-compose.yml}
if [ "$has_gpu" = 0 ] && [[ $COMPOSE_FILE != *compose.cpu.yml* ]]; then
    say "the engine has no NVIDIA runtime: adding compose.cpu.yml"
    COMPOSE_FILE=$COMPOSE_FILE:compose.cpu.yml
fi
if [ "${LIVE:-}" ] && [[ $COMPOSE_FILE != *compose.live.yml* ]]; then COMPOSE_FILE=$COMPOSE_FILE:compose.live.yml; fi
COMPOSE_FILE=$COMPOSE_FILE${FANOUT:+:$FANOUT}
export PIRIG_UID=${PIRIG_UID:-$(id -u)} PIRIG_GID=${PIRIG_GID:-$(id -g)}
PIRIG_VERSION=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' src/pirig/__init__.py)
PIRIG_REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)
export PIRIG_VERSION PIRIG_REVISION
address= # of a checkpoint that is fetched; a directory is mounted as /ckpt
if [[ $CKPT = *://* ]]; then address=$CKPT CKPT=; elif [ "$CKPT" ]; then
    CKPT=$(realpath -e "$CKPT") || fail "CKPT: there is no such directory"
fi

server_args() {
    case $POLICY in
        pi0*)
            local directory=${address:-${CKPT:+/ckpt}}
            echo "policy:checkpoint --policy.config $POLICY ${directory:+--policy.dir $directory}"
            ;;
        *) echo "policy:baseline --policy.name $POLICY" ;;
    esac
}

know_the_packs() { # their folder is mounted, and variables go into containers by name
    local name packs=${OPENPI_DUQUANT_PACKDIR:-${OPENPI_DUQUANT_PACKROOT:-data/packs}}
    for name in $(compgen -e OPENPI_DUQUANT_ || true); do
        [ "$name" = OPENPI_DUQUANT_PACKROOT ] || grep -q "^ *$name:" compose.yml ||
            fail "$name is not a variable of pirig; docs/quantization.md has them all"
    done
    mkdir -p "$packs" || fail "$packs: packs are kept there, and it cannot be made"
    OPENPI_DUQUANT_PACKDIR=$(realpath "$packs")
    export OPENPI_DUQUANT_PACKDIR
}

asks_for_quantization() { # or may do so: what variables mean is the container's business
    [[ ${QUANTIZE:-} || $SERVER_ARGS = *--quantize* ]] || compgen -e OPENPI_DUQUANT_ | grep -qvE '_PACK(DIR|ROOT)$'
}

make_the_pack_first() { # the server's image has no LIBERO to calibrate with
    asks_for_quantization || return 0
    say "quantization: the server's pack is made first, unless it is there"
    docker compose --profile quantize up --build --exit-code-from quantize quantize || return
    docker compose --profile quantize rm --force quantize >/dev/null
    [ -z "${OPENPI_DUQUANT_DRYRUN:-}" ] || exit 0
}

refuse_large_models_on_a_cpu() {
    if [ "$has_gpu" = 0 ] && [ -z "${ALLOW_CPU:-}" ] && { [ "$POLICY" = pi05_libero ] || [ "$POLICY" = pi0_libero ]; }; then
        fail "POLICY=$POLICY takes seconds for each chunk of actions without a GPU, hours for a suite. Ways out:
  POLICY=scripted            needs no model
  POLICY=ws://HOST:PORT      a policy server on another machine
  POLICY=${POLICY}_tiny      with CKPT=, for trying the stack (pirig checkpoint random)
  ALLOW_CPU=1                do it all the same"
    fi
}

# An image cannot know its own id; manifests have it from here. Empty where SERVICE's image is not built yet.
image_of() { docker image inspect --format '{{.Id}}' "pirig/$1:${PIRIG_TAG:-dev}" 2>/dev/null || true; }

# Of a service's container: where another one ended first, compose itself says 0.
own_code() { docker inspect --format '{{.State.ExitCode}}' "$(docker compose --profile "$1" ps --all --quiet "$2")" || echo 1; }

# shellcheck disable=SC2329 # called by the trap
clean_up() { docker compose --profile '*' down --remove-orphans >/dev/null 2>&1 || true; }

case ${1:-} in
    build) exec docker compose --profile '*' build ;;
    down) exec docker compose --profile '*' down --remove-orphans ;;
    serve | prepare)
        refuse_large_models_on_a_cpu
        export SERVER_ARGS=${SERVER_ARGS:-$(server_args)}
        mkdir -p results data
        know_the_packs
        make_the_pack_first
        [ "$1" = serve ] || exit 0
        exec docker compose --profile split up --build server
        ;;
    check) refuse_large_models_on_a_cpu; exit ;;
    compose)
        mkdir -p results data
        know_the_packs
        [[ $POLICY = *://* ]] || export SERVER_ARGS=${SERVER_ARGS:-$(server_args)}
        PIRIG_IMAGE=$(image_of runtime)
        export PIRIG_IMAGE
        shift
        exec docker compose "$@"
        ;;
    split | headless) ;;
    *) fail "expected split, headless, serve, prepare, build, down, check, compose or mode; found '${1:-}'" ;;
esac

mkdir -p results data
know_the_packs
refuse_large_models_on_a_cpu
service=headless words=()
if [ "$1" = headless ] && [ "$address" ]; then CLIENT_ARGS="--policy-dir $address $CLIENT_ARGS"; fi
if [ "$1" = split ]; then
    service=runtime
    export SERVER_ARGS=${SERVER_ARGS:-$(server_args)}
    if [[ $POLICY = *://* ]]; then
        CLIENT_ARGS="--policy $POLICY $CLIENT_ARGS"
        words+=(--no-deps "$service")
    fi
fi
trap clean_up EXIT
trap : INT TERM # compose gets the signal too, and stops its containers
docker compose --profile "$1" build ${words[@]:+"$service"} # without words: all of the profile
PIRIG_IMAGE=$(image_of "$service")
export PIRIG_IMAGE
[ -z "${LIVE:-}" ] || say "live page: http://127.0.0.1:$LIVE/"
code=0
if [ "$1" = split ] && [[ $POLICY != *://* ]]; then make_the_pack_first || exit; fi
docker compose --profile "$1" up "${words[@]}" --exit-code-from "$service" || code=$?
if [ "$code" = 0 ]; then code=$(own_code "$1" "$service"); fi
[ "$code" = 0 ] || say "the evaluation ended with code $code; what was finished is kept, and the same command goes on"
exit "$code"
