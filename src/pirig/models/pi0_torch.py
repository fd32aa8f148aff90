"""Compute π0 and π0.5 in PyTorch: from images and a prompt to an action chunk, by flow matching. Mirrors pi0_jax.

    images, prompt ─ encode, embed ─► prefix ─ language model ─► KV cache
    noise ─► [ action_in ─► expert, attends to the cache ─► action_out = velocity; x += dt · velocity ] × steps

π0 (Black et al., arXiv 2410.24164) reads the state as a token and mixes the time into the action tokens. π0.5
(arXiv 2504.16054) modulates the expert's norms by the time. `Tables` holds precomputed values that depend only on the
time. Source: openpi `models/pi0.py` (commit 15a9616). Module names are those of its PyTorch state dict.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pirig.models import gemma_torch as gemma
from pirig.models import siglip_torch as siglip
from pirig.models.config import ModelConfig
from pirig.models.gemma_torch import Cache, Norm
from pirig.models.sampling import suffix_mask, time_embedding, times

_IN_FLOAT32 = ("action_in_proj.", "state_proj.", "time_mlp_", "action_time_mlp_", ".embeddings.")
"""Layers that the reference computes in float32, independent of the dtype of the rest."""


class Tables(NamedTuple):
    """The values that depend only on the denoising time. The first axis is S, the denoising steps."""

    attention: Norm  # [S, L, D]
    ffw: Norm
    final: Norm  # [S, D]
    time: Tensor | None  # π0: float32[S, D], added to the action tokens' hidden layer


class Inputs(NamedTuple):
    """The contents of a `sampling.Batch` with its masks and positions."""

    images: Tensor  # uint8[B, C, H, W, 3]
    tokens: Tensor  # int32[B, P]
    mask: Tensor  # bool[B, S]
    positions: Tensor  # int32[B, S]
    suffix_positions: Tensor  # int32[B, T']
    state: Tensor  # float32[B, A]
    noise: Tensor  # float32[B, T, A]


class Pi0(nn.Module):
    """The weights of the model. The functions below do the computation."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        width = config.expert.width
        projector = nn.ModuleDict({"linear": nn.Linear(config.vision.width, config.llm.width)})
        paligemma = {
            "vision_tower": nn.ModuleDict({"vision_model": siglip.Vision(config.vision)}),
            "multi_modal_projector": projector,
            "language_model": gemma.Gemma(config.llm, vocabulary=config.vocabulary),
        }
        expert = gemma.Gemma(config.expert, time_in_norm=config.time_in_norm)
        self.paligemma_with_expert = nn.ModuleDict(
            {
                "paligemma": nn.ModuleDict({"model": nn.ModuleDict(paligemma)}),
                "gemma_expert": nn.ModuleDict({"model": expert}),
            }
        )
        self.action_in_proj = nn.Linear(config.action_size, width)
        self.action_out_proj = nn.Linear(width, config.action_size)
        if config.time_in_norm:
            self.time_mlp_in, self.time_mlp_out = nn.Linear(width, width), nn.Linear(width, width)
        else:
            self.state_proj = nn.Linear(config.action_size, width)
            self.action_time_mlp_in = nn.Linear(2 * width, width)
            self.action_time_mlp_out = nn.Linear(width, width)
        self.suffix_mask: Tensor | None = None  # bool[T' or 1, T']: one row if all rows are equal

    @property
    def vision(self) -> siglip.Vision:
        return self.get_submodule("paligemma_with_expert.paligemma.model.vision_tower.vision_model")  # ty: ignore

    @property
    def projector(self) -> nn.Linear:
        return self.get_submodule("paligemma_with_expert.paligemma.model.multi_modal_projector.linear")  # ty: ignore

    @property
    def llm(self) -> gemma.Gemma:
        return self.get_submodule("paligemma_with_expert.paligemma.model.language_model")  # ty: ignore

    @property
    def expert(self) -> gemma.Gemma:
        return self.get_submodule("paligemma_with_expert.gemma_expert.model")  # ty: ignore


def model(
    arrays: Iterable[tuple[str, Tensor]],
    config: ModelConfig,
    dtype: torch.dtype,
    device: torch.device,
    *,
    replace: Callable[[Pi0], None] = lambda _: None,
    joined: bool = True,
) -> Pi0:
    """Build the model from pairs of name and tensor, one by one, so that memory holds little more than the model.

    `replace` may replace layers whose weights are not among `arrays`. Without `joined`, each layer is computed
    separately, so that hooks can observe its input.
    """
    with torch.device("meta"):
        w = Pi0(config).eval().requires_grad_(False)
    for name, value in arrays:
        owner, _, last = name.rpartition(".")
        value = value.to(device=device, dtype=dtype)
        if any(part in name for part in _IN_FLOAT32):
            value = value.float()
        setattr(w.get_submodule(owner), last, nn.Parameter(value, requires_grad=False))
    replace(w)
    w.vision.settle()
    w.llm.settle(joined=joined)
    w.expert.settle(joined=joined)
    rows = suffix_mask(config)
    w.suffix_mask = torch.from_numpy(rows[:1] if rows.all() else rows).to(device)
    return w


def tabulate(w: Pi0, config: ModelConfig) -> Tables:
    embedding = torch.from_numpy(time_embedding(times(config.steps), config.expert.width)).to(w.action_in_proj.weight)
    if not config.time_in_norm:
        time = F.linear(embedding, w.action_time_mlp_in.weight[:, config.expert.width :], w.action_time_mlp_in.bias)
        assert w.expert.fixed_norms is not None
        repeated = (Norm(norm.gain.expand(config.steps, *norm.gain.shape)) for norm in w.expert.fixed_norms)
        return Tables(*repeated, time=time)
    condition = time_condition(embedding, w).to(w.action_out_proj.weight.dtype)
    attention = [modulation(condition, layer.input_layernorm) for layer in w.expert.layers]
    ffw = [modulation(condition, layer.post_attention_layernorm) for layer in w.expert.layers]
    final = modulation(condition, w.expert.norm)
    return Tables(*(Norm(*(torch.stack(x, dim=1) for x in zip(*rows, strict=True))) for rows in (attention, ffw)),
                  final=final, time=None)  # fmt: skip


def time_condition(embedding: Tensor, w: Pi0) -> Tensor:
    """Return the condition of adaRMS, float32[S, D], from the time embedding (π0.5)."""
    return F.silu(w.time_mlp_out(F.silu(w.time_mlp_in(embedding))))


def modulation(condition: Tensor, norm: gemma.RMSNorm | gemma.AdaRMSNorm) -> Norm:
    """Compute the adaRMS modulation, three tensors [S, D], from the condition [S, D]."""
    assert isinstance(norm, gemma.AdaRMSNorm)
    scale, shift, gate = norm.dense(condition).chunk(3, dim=-1)
    return Norm(1 + scale, shift, gate)


def sample(inputs: Inputs, w: Pi0, tables: Tables | None, config: ModelConfig) -> Tensor:
    """Generate normalized actions, float32[B, T, A], from the noise by flow matching.

    With `tables`, computation whose result is never read is skipped. Without, everything is computed as in the
    reference.
    """
    x, _ = embed_prefix(inputs, w, config)
    cache = fill_cache(x, inputs, w, config, trim=tables is not None)
    return denoise(inputs, cache, w, tables if tables is not None else tabulate(w, config), config)


def fill_cache(x: Tensor, inputs: Inputs, w: Pi0, config: ModelConfig, *, trim: bool) -> Cache:
    """Compute the KV cache of the prefix x, which `embed_prefix` returns."""
    assert w.llm.fixed_norms is not None
    assert w.llm.frequencies is not None
    attention, ffw, _ = w.llm.fixed_norms
    turn = gemma.rotation(inputs.positions, w.llm.frequencies)
    return gemma.prefix(x, inputs.mask, turn, w.llm, attention, ffw, config.llm, trim=trim)[1]


def denoise(inputs: Inputs, cache: Cache, w: Pi0, tables: Tables, config: ModelConfig) -> Tensor:
    """Integrate by Euler steps from the noise at time 1 to the actions, float32[B, T, A], at time 0."""
    assert w.expert.frequencies is not None
    see = suffix_sight(inputs.mask, w, config)
    turn = gemma.rotation(inputs.suffix_positions, w.expert.frequencies)
    x = inputs.noise
    for i in range(config.steps):
        v = velocity(x, inputs.state, cache, see, turn, w, row(tables, i), config)
        x = x + float(np.float32(-1.0 / config.steps)) * v.float()
    return x


def row(tables: Tables, step: int) -> Tables:
    return Tables(
        tables.attention.row(step),
        tables.ffw.row(step),
        tables.final.row(step),
        None if tables.time is None else tables.time[step],
    )


def embed_prefix(inputs: Inputs, w: Pi0, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Return the prefix, [B, S, D], and its image part.

    All cameras are encoded in one call. The prompt follows the images.
    """
    batch = inputs.images.shape[0]
    seen = siglip.encode(inputs.images.flatten(0, 1), w.vision, w.projector, config.vision)
    seen = seen.view(batch, -1, config.llm.width)
    words = F.embedding(inputs.tokens, w.llm.embed_tokens.weight)
    words = words * torch.tensor(config.llm.width**0.5, dtype=words.dtype)
    return torch.cat([seen, words], dim=1), seen


def suffix_sight(mask: Tensor, w: Pi0, config: ModelConfig) -> Tensor:
    """Return the attention mask of the suffix: `gemma.sight` of bool[B, T', S + T'], or of one row if all are equal."""
    own = w.suffix_mask
    assert own is not None
    rows = (mask.shape[0], *own.shape)
    see = torch.cat([mask[:, None].expand(*rows[:2], mask.shape[1]), own.expand(rows)], dim=2)
    return gemma.sight(see, config.expert)


def velocity(
    x: Tensor, state: Tensor, cache: Cache, see: Tensor, turn: gemma.Rotation, w: Pi0, own: Tables, config: ModelConfig
) -> Tensor:
    """Compute the velocity, [B, T, A], at one denoising time. `own` is the row of the tables for that time."""
    tokens = embed_suffix(x, state, w, own.time).to(w.action_out_proj.weight.dtype)
    y = gemma.suffix(tokens, cache, see, turn, w.expert, own.attention, own.ffw, config.expert)
    y = gemma.normalize(y, own.final)[:, -config.action_horizon :]
    return w.action_out_proj(y)


def embed_suffix(x: Tensor, state: Tensor, w: Pi0, time: Tensor | None) -> Tensor:
    """Embed the suffix tokens, float32[B, T', D]. `time` is π0's row of `Tables.time`."""
    actions = w.action_in_proj(x)
    if time is None:
        return actions
    hidden = F.silu(F.linear(actions, w.action_time_mlp_in.weight[:, : actions.shape[-1]]) + time)
    return torch.cat([w.state_proj(state)[:, None], w.action_time_mlp_out(hidden)], dim=1)
