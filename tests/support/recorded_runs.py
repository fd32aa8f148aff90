"""Runs as `pirig eval` leaves them, made of drawn numbers instead of a simulator: for pages, tables and timings."""

import dataclasses
import pathlib

import numpy as np

from pirig.evaluation.plan import plan
from pirig.results.store import RunStore
from pirig.types import EpisodeResult, EpisodeSpec, Status, Timings

MAX_STEPS = 310
CONFIGURATION = {
    "suite": "libero_goal",
    "policy": "pi05_libero",
    "policy_metadata": {"name": "pi05_libero", "backend": "jax", "checkpoint": "5f0c9b2e7a41d8c3"},
    "headless": True,
    "seed": 7,
    "seeding": "per-episode",
    "max_steps": 300,
    "settle_steps": 10,
    "replan_steps": 5,
    "gl": "egl",
    "versions": {"mujoco": "3.2.3", "robosuite": "1.4.1"},
}


def quantized(depth: int = 18) -> dict:
    """Metadata of a policy in W4A8, in the form of `quantization.apply.report`."""
    decoders = ("paligemma_with_expert.paligemma.model.language_model", "paligemma_with_expert.gemma_expert.model")
    kinds = ("mlp.down_proj", "mlp.gate_proj", "mlp.up_proj", *(f"self_attn.{k}_proj" for k in "koqv"))
    names = [f"{decoder}.layers.{i}.{kind}" for decoder in decoders for i in range(depth) for kind in kinds]
    errors = {name: round(0.001 * (1 + i % 7), 4) for i, name in enumerate(names)}
    return CONFIGURATION["policy_metadata"] | {
        "backend": "torch",
        "quantization": {
            "name": "w4a8",
            "method": "duquant",
            "layers": dict.fromkeys(("expected", "matched", "replaced"), len(names)),
            "weight_bits": {"4": len(names)},
            "activation_bits": 8,
            "bytes": {"before": 4_270_000_000, "after": 1_070_000_000},
            "kernel": "int_mm",
            "configuration": {"method": "duquant", "weight_bits": 4, "activation_bits": 8, "samples": 32},
            "pack": "1f" * 32,
            "calibration": {"sha256": "2e" * 32, "samples": 32, "source": {"libero": 1, "seed": 0}},
            "error": {"mean": 0.004, "by_layer": errors},
        },
    }


def make_run(
    folder: pathlib.Path,
    *,
    tasks: int = 10,
    trials: int = 50,
    recorded: int | None = None,
    errors: int = 0,
    actions: bool = True,
    manifest: dict | None = None,
    seed: int = 1,
    always: Status | None = None,
    **configuration,
) -> list[EpisodeSpec]:
    """Writes the first `recorded` of tasks x trials episodes, `errors` of them errors; returns what was planned."""
    draw = np.random.default_rng(seed)
    configuration = {**CONFIGURATION, **configuration}
    specs = plan(configuration["suite"], range(tasks), range(trials), configuration["seed"])
    count = len(specs) if recorded is None else recorded
    broken = set(draw.choice(count, errors, replace=False).tolist())
    chances = draw.uniform(0.88, 1.0, tasks)
    with RunStore.open(folder, configuration) as store:
        store.note(planned=len(specs), complete=count == len(specs) and not errors, **(manifest or {}))
        for i, spec in enumerate(specs[:count]):
            success = draw.random() < chances[spec.task_id] if always is None else always == "success"
            result = _episode(spec, draw, bool(success), actions)
            if i in broken:
                result = _broken(result)
            store.append(result)
    return specs


def _episode(spec: EpisodeSpec, draw: np.random.Generator, success: bool, actions: bool) -> EpisodeResult:
    steps = min(int(draw.gamma(30, 4) + 4 * spec.task_id), MAX_STEPS - 1) if success else MAX_STEPS
    executed = steps - 10
    chunks = -(-executed // 5)
    reset_s, simulation_s, inference_s = 0.4 + draw.random() / 5, steps * 0.011, chunks * draw.normal(0.041, 0.001)
    return EpisodeResult(
        spec,
        "success" if success else "failure",
        steps,
        MAX_STEPS,
        wall_s=reset_s + simulation_s + inference_s + 0.05,
        timings=Timings(reset_s, simulation_s, simulation_s / 3, inference_s, chunks),
        actions=np.cumsum(draw.normal(0, 0.05, (executed, 7)), axis=0) if actions else np.zeros((0, 7)),
        state_hash=f"{spec.task_id:02x}{spec.trial:02x}" * 8,
        trail=draw.integers(0, 2**32, steps, np.uint32),
    )


def _broken(result: EpisodeResult) -> EpisodeResult:
    text = "Traceback (most recent call last):\n  <module>\nConnectionError: server & network <gone> after 3 attempts\n"
    return dataclasses.replace(result, status="error", steps=17, error=text)
