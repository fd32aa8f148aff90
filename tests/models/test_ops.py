"""Single operations against the reference's (golden `ops_jax_eager.npz`), in both backends."""

import numpy as np
import pytest

from pirig.models import sampling
from pirig.models.config import GEMMA, VisionSize
from support import golden

FILE = golden.ROOT / "model/ops_jax_eager.npz"
OPS = np.load(FILE)
BACKENDS = ["jax", "torch"]
DTYPES = {"float32": 2e-6, "bfloat16": 0.03}  # absolute, on values up to 4


def values(case):
    return {key.removeprefix(case + "/"): OPS[key] for key in OPS.files if key.startswith(case + "/")}


class Backend:
    """Arrays, Gemma's and SigLIP's functions of one backend."""

    def __init__(self, name, dtype="float32"):
        if name == "jax":
            import jax.numpy as jnp

            from pirig.models import gemma_jax, pi0_jax, siglip_jax

            self.gemma, self.siglip, self.pi0 = gemma_jax, siglip_jax, pi0_jax
            self.array = lambda x: jnp.asarray(x, dtype if x.dtype.kind == "f" else None)
            self.numbers = lambda x: np.asarray(x.astype(jnp.float32))
        else:
            import torch

            from pirig.models import gemma_torch, pi0_torch, siglip_torch

            self.gemma, self.siglip, self.pi0 = gemma_torch, siglip_torch, pi0_torch
            self.array = lambda x: (
                torch.from_numpy(x).to(getattr(torch, dtype)) if x.dtype.kind == "f" else torch.from_numpy(x)
            )
            self.numbers = lambda x: x.detach().float().numpy()
        self.name, self.tolerance = name, DTYPES[dtype]

    def turn(self, positions, head_dim):
        frequencies = sampling.rope_frequencies(head_dim)
        if self.name == "torch":
            import torch

            frequencies = torch.from_numpy(frequencies)
        return self.gemma.rotation(self.array(positions), frequencies)

    def check(self, found, expected, scale=1):
        assert found.shape == expected.shape
        assert np.abs(self.numbers(found) - expected).max() <= self.tolerance * scale


@pytest.fixture(params=[(name, dtype) for name in BACKENDS for dtype in DTYPES], ids=lambda p: "-".join(p))
def case(request):
    name, dtype = request.param
    return Backend(name, dtype), dtype


def test_rms_norm(case):
    own, dtype = case
    v = values(f"rmsnorm_{dtype}")
    own.check(own.gemma.normalize(own.array(v["x"]), own.gemma.Norm(1 + own.array(v["scale"]))), v["out"], 2)


def test_adaptive_rms_norm(case):
    own, dtype = case
    v = values(f"adarmsnorm_{dtype}")
    merged = own.array(v["cond_f32"]) @ own.array(v["kernel"]) + own.array(v["bias"])
    scale, shift, gate = (merged[:, None, i * 64 : (i + 1) * 64] for i in range(3))
    own.check(own.gemma.normalize(own.array(v["x"]), own.gemma.Norm(1 + scale, shift)), v["out"], 2)
    own.check(gate, v["gate"], 2)


@pytest.mark.parametrize("kind", ["rope", "rope_hd256"])
def test_rope(case, kind):
    own, dtype = case
    v = values(f"{kind}_{dtype}")
    turn = own.turn(v["positions"], v["x"].shape[-1])
    scale = 100 if dtype == "float32" else 1  # sines of large angles: libraries differ by their rounding
    own.check(own.gemma.rope(own.array(v["x"]), turn), v["out"], scale)


def test_feed_forward(case):
    own, dtype = case
    v = values(f"ffn_{dtype}")
    gate, up = v["gating_einsum"]
    x = own.array(v["x"])
    if own.name == "jax":
        merged = own.array(np.concatenate([gate, up], axis=1))
        found = own.gemma.feed_forward(x, own.gemma.Layers(None, None, merged, own.array(v["linear"])))
    else:
        from torch import nn

        w = own.gemma.FeedForward(GEMMA["dummy"])
        for part, weight in ((w.gate_proj, gate), (w.up_proj, up), (w.down_proj, v["linear"])):
            part.weight = nn.Parameter(own.array(np.ascontiguousarray(weight.T)))
        found = own.gemma.feed_forward(x, w)
    own.check(found, v["out"], 4)


def test_attention_of_two_experts(case):
    """Ours run one after the other; together they are a product over both sequences."""
    own, dtype = case
    v = values(f"attention_two_experts_{dtype}")
    size, suffixes = GEMMA["dummy"], ("", "_1")
    turns = [own.turn(p, 16) for p in (v["positions"][:, :5], v["positions"][:, 5:])]
    parts = []
    for i, suffix in enumerate(suffixes):
        q, kv = v[f"q_einsum{suffix}"], v[f"kv_einsum{suffix}"]
        flat = np.concatenate([w.transpose(1, 0, 2).reshape(64, -1) for w in (q, kv[0], kv[1])], axis=1)
        x = own.array(v[f"x{i}"])
        if own.name == "jax":
            layer = own.gemma.Layers(own.array(flat), None, None, None)
        else:
            layer = own.gemma.Layer(size, time_in_norm=False)
            layer.self_attn.qkv = own.gemma.Joined(own.array(np.ascontiguousarray(flat.T)), None)
        parts.append(own.gemma.project(x, layer, turns[i], size))
    join = np.concatenate
    q, k, w = (own.array(join([own.numbers(part[j]) for part in parts], axis=1)) for j in range(3))
    own.check(k, v["k"], 40)
    own.check(w, v["v"], 2)
    see = own.array(v["attn_mask"])
    see = own.gemma.sight(see, size) if own.name == "torch" else see
    mixed = own.gemma.attend(q, k, w, see)
    outs = [own.array(v[f"attn_vec_einsum{suffix}"].reshape(-1, 64)) for suffix in suffixes]
    seen = v["input_mask"]
    for x, out, expected, rows in zip(
        (mixed[:, :5], mixed[:, 5:]), outs, (v["out0"], v["out1"]), (seen[:, :5], seen[:, 5:]), strict=True
    ):
        assert np.abs(own.numbers(x @ out) - expected)[rows].max() <= own.tolerance * 20


def test_a_block_of_the_image_encoder(case):
    own, dtype = case
    v = values(f"siglip_block_{dtype}")
    attention = "MultiHeadDotProductAttention_0"
    qkv = [v[f"{attention}.{name}.kernel"].reshape(32, 32) for name in ("query", "key", "value")]
    qkv_bias = np.concatenate([v[f"{attention}.{name}.bias"].reshape(32) for name in ("query", "key", "value")])
    out, out_bias = v[f"{attention}.out.kernel"].reshape(32, 32), v[f"{attention}.out.bias"]
    x = own.array(v["x"])
    if own.name == "jax":
        affine = own.siglip.Affine
        norms = [affine(own.array(v[f"LayerNorm_{i}.scale"]), own.array(v[f"LayerNorm_{i}.bias"])) for i in (0, 1)]
        dense = [
            affine(own.array(v[f"MlpBlock_0.Dense_{i}.kernel"]), own.array(v[f"MlpBlock_0.Dense_{i}.bias"]))
            for i in (0, 1)
        ]
        joined = affine(own.array(np.concatenate(qkv, axis=1)), own.array(qkv_bias))
        w = own.siglip.Blocks(norms[0], joined, affine(own.array(out), own.array(out_bias)), norms[1], *dense)
    else:
        w = own.siglip.Block(VisionSize(width=32, depth=1, mlp=48, heads=2)).to(x.dtype)
        w.self_attn.qkv = own.gemma.Joined(
            own.array(np.ascontiguousarray(np.concatenate(qkv, axis=1).T)), own.array(qkv_bias)
        )
        state = {"self_attn.out_proj.weight": out.T, "self_attn.out_proj.bias": out_bias}
        for i in (0, 1):
            state |= {
                f"layer_norm{i + 1}.weight": v[f"LayerNorm_{i}.scale"],
                f"layer_norm{i + 1}.bias": v[f"LayerNorm_{i}.bias"],
            }
            state |= {
                f"mlp.fc{i + 1}.weight": v[f"MlpBlock_0.Dense_{i}.kernel"].T,
                f"mlp.fc{i + 1}.bias": v[f"MlpBlock_0.Dense_{i}.bias"],
            }
        w.load_state_dict({name: own.array(np.ascontiguousarray(x)) for name, x in state.items()}, strict=False)
    own.check(own.siglip.block(x, w, 2), v["out"], 4)


@pytest.mark.parametrize("width", [64, 1024])
def test_the_time_embedding_is_rounded_where_the_reference_rounds(width):
    v = values(f"posemb_sincos_{width}")
    assert np.abs(sampling.time_embedding(v["t"].astype(np.float32), width) - v["out_jit"]).max() < 1.2e-7
