#!/usr/bin/env bash
# Evaluates the published π0.5 checkpoint on the four suites and prints our row beside the published one. Goes on where an
# earlier call stopped.
#
#   scripts/vm/reproduce.sh              in a terminal: in tmux, or it ends with the connection
#   scripts/vm/reproduce.sh --detach     in the background, through hang-ups; says how to follow it
#   scripts/vm/reproduce.sh --stop       ends that one; what is finished is kept
#
#   POLICY    default: that of .env; POLICY=scripted TRIALS=1 tries all steps without a checkpoint
#   SUITES    all (the standard four), or names: "libero_object libero_goal"
#   TRIALS    trials of each task; default: that of .env
#   MODE      split (two containers), headless (one), local (none)
#   CKPT      a directory, instead of the published checkpoint
#   QUANTIZE  w4a8, …; OPENPI_DUQUANT_* variables too
#   ARGS      more flags of `pirig eval`
#   OPENPI_DATA_HOME    folder for downloads, ~/.cache/openpi
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/defaults.sh
export MODE=${MODE:-split} CKPT=${CKPT:-} ARGS=${ARGS:-}
export OPENPI_DATA_HOME=${OPENPI_DATA_HOME:-$HOME/.cache/openpi}
suites=${SUITES:-all}
log=results/reproduce.log lock=results/.reproduce.pid
tokenizer=gs://big_vision/paligemma_tokenizer.model

main() {
    case "$*" in
        "") ;;
        --stop) stop; exit ;;
        --detach) ;;
        *) fail "expected nothing, --detach or --stop; found '$*'" ;;
    esac
    join_the_group_of_docker "$@"
    mkdir -p results data "$OPENPI_DATA_HOME"
    refuse_a_second_one
    step "preflight" scripts/vm/preflight.sh run
    if [ "${1:-}" = --detach ]; then detach; exit; fi
    trap 'exit 130' INT
    trap 'exit 143' TERM
    if [ "$MODE" = local ]; then step "environment" make "$(needs_a_model && echo setup-models || echo setup)"; else
        step "images" make build
    fi
    step "doctor" pirig doctor
    if needs_a_model && [ -z "$CKPT" ]; then step "checkpoint" fetch; fi
    local suite failed=()
    for suite in $suites; do step "$suite" evaluate "$suite" || failed+=("$suite"); done
    step "report" pirig report
    [ ${#failed[@]} = 0 ] || fail "not complete: ${failed[*]}; the same command goes on"
}

say() { echo "reproduce: $*"; }
fail() { say "error: $*" >&2; exit 1; }
needs_a_model() { [[ $POLICY = pi0* ]]; }

step() { # NAME COMMAND...
    local name=$1 start=$SECONDS
    shift
    say "$name"
    "$@" || { say "$name: FAILED after $((SECONDS - start)) s"; return 1; }
    say "$name: $((SECONDS - start)) s"
}

join_the_group_of_docker() { # install.sh may have added us after this session began
    [ "$MODE" != local ] && ! docker info >/dev/null 2>&1 || return 0
    if id -nG "$(id -un)" | grep -qw docker && ! id -nG | grep -qw docker; then
        exec sg docker -c "$(printf '%q ' "$PWD/scripts/vm/reproduce.sh" "$@")"
    fi
}

is_running() { [ -e "$lock" ] && ! flock -n "$lock" true; }

refuse_a_second_one() {
    exec 9>>"$lock"
    flock -n 9 || fail "another one is at it, process $(cat "$lock"): tail -f $log, or scripts/vm/reproduce.sh --stop"
    echo "$$ MODE=$MODE" >"$lock"
}

detach() {
    exec 9>&-
    setsid -f scripts/vm/reproduce.sh >>"$log" 2>&1 </dev/null
    say "goes on without this terminal
  follow it:  tail -f $PWD/$log
  stop it:    $PWD/scripts/vm/reproduce.sh --stop"
}

stop() {
    is_running || fail "nothing is running here"
    local pid mode
    read -r pid mode <"$lock"
    [ "$(ps -o pgid= -p "$pid" | tr -d ' ')" = "$pid" ] || fail "process $pid runs in a terminal or a job: Ctrl-C there"
    if [ "$mode" = MODE=local ]; then
        kill -INT -- "-$pid" # what Ctrl-C does
    else
        kill -TERM "$pid" # it ends with what it waits for
        scripts/stack.sh down
    fi
    flock -w 90 "$lock" true || fail "process $pid has not ended in 90 s"
    say "stopped; the same command goes on"
}

pirig() { # WORDS...: in the image that holds everything, or in the local environment
    if [ "$MODE" = local ]; then "${VENV:-.venv}/bin/pirig" "$@"; return; fi
    local gpu=()
    ! docker info --format '{{json .Runtimes}}' | grep -q '"nvidia' || gpu=(--gpus "device=${GPU:-0}")
    docker run --rm --init "${gpu[@]}" --user "$(id -u):$(id -g)" --read-only --tmpfs /tmp:exec,mode=1777 --cap-drop ALL \
        --security-opt no-new-privileges --volume "$PWD:/project:ro" --volume "$PWD/results:/project/results" \
        --volume "$OPENPI_DATA_HOME:/data/openpi" --env HF_TOKEN --env PIRIG_OFFLINE \
        --entrypoint pirig "pirig/headless:${PIRIG_TAG:-dev}" "$@"
}

fetch() {
    pirig checkpoint fetch "$tokenizer" &&
        pirig checkpoint fetch "gs://openpi-assets/checkpoints/$POLICY"
}

evaluate() { # SUITE
    local mode=$MODE
    [ "$1" != all ] || [ "$MODE" != split ] || mode=$(scripts/stack.sh mode all) # on all GPUs, where it can be
    make --no-print-directory eval SUITE="$1" MODE="$mode"
}

main "$@"
