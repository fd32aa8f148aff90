#!/usr/bin/env bash
# Evaluates a checkpoint on one suite in one process, without a socket.
#
#   CKPT=/path/to/checkpoint [TASK_SUITE=…] [NUM_TRIALS=…] [POLICY_CONFIG=…] [DUQUANT=1] [PYTHON=python3] \
#       examples/libero/run_headless_eval.sh [more flags of main.py]
#
# TASK_SUITE, NUM_TRIALS and POLICY_CONFIG have the defaults of main.py (`pirig eval --help`).
# Every OPENPI_DUQUANT_* variable reaches the evaluator; DUQUANT=1 sets those of W4A8 on the action expert.
set -euo pipefail

: "${CKPT:?set CKPT to the directory of a checkpoint, e.g. CKPT=./ckpt $0}"
[ -d "$CKPT" ] || { echo "CKPT=$CKPT: there is no such directory" >&2; exit 2; }

if [ "${DUQUANT:-0}" = 1 ]; then
    export OPENPI_DUQUANT_DEBUG="${OPENPI_DUQUANT_DEBUG:-1}"
    export OPENPI_DUQUANT_SCOPE="${OPENPI_DUQUANT_SCOPE:-paligemma_with_expert.gemma_expert.model.}"
    export OPENPI_DUQUANT_WBITS_DEFAULT="${OPENPI_DUQUANT_WBITS_DEFAULT:-4}"
    export OPENPI_DUQUANT_ABITS="${OPENPI_DUQUANT_ABITS:-8}"
fi

cd "$(dirname "$0")/../.."
[ -n "${PYTHON:-}" ] || PYTHON=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)
exec "$PYTHON" examples/libero/main.py \
    --args.headless \
    --args.policy-dir "$CKPT" \
    ${POLICY_CONFIG:+--args.policy-config "$POLICY_CONFIG"} \
    ${TASK_SUITE:+--args.task-suite-name "$TASK_SUITE"} \
    ${NUM_TRIALS:+--args.num-trials-per-task "$NUM_TRIALS"} \
    "$@"
