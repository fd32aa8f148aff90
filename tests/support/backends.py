"""Both backends behind one interface, for tests that hold for either: every part that golden values name."""

import dataclasses
import functools
import types

import numpy as np

from pirig.models import sampling, weights
from pirig.models.config import GEMMA, PI0, PI05
from support import golden, tiny

FOLDER = golden.ROOT / "model"
GOLDEN_PATCHES = [0, 1, 100, 255]
SLOTS = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")


def config(name):
    """Of pi05_tiny, pi0_dummy, …"""
    model, size = name.split("_")
    base = {"pi05": PI05, "pi0": PI0}[model]
    if size == "tiny":
        return base.tiny()
    return dataclasses.replace(base, llm=GEMMA["dummy"], expert=GEMMA["dummy"])


def batch(name, size):
    inputs = np.load(FOLDER / f"{name}_b{size}_inputs.npz")
    images = np.load(FOLDER / "images_b3.npz")
    return sampling.Batch(
        images=np.stack([images[f"in/image/{slot}"][:size] for slot in SLOTS], axis=1),
        cameras=np.stack([inputs[f"in/image_mask/{slot}"] for slot in SLOTS], axis=1),
        tokens=inputs["in/tokenized_prompt"],
        words=inputs["in/tokenized_prompt_mask"],
        state=inputs["in/state"],
        noise=inputs["in/noise"],
    )


@functools.cache
def _jax_modules():
    """gemma_jax, pi0_jax and siglip_jax with their functions compiled, once for all tests of a process.

    The product compiles them too. One by one, JAX would compile each operation of each shape by itself.
    """
    import jax

    from pirig.models import gemma_jax, pi0_jax, siglip_jax

    def compiled(module, **static):  # name of a function = places of its arguments that are no arrays
        names = {"prefix": "trim"}
        jitted = {
            name: jax.jit(getattr(module, name), static_argnums=places, static_argnames=names.get(name))
            for name, places in static.items()
        }
        return types.SimpleNamespace(**{**vars(module), **jitted})

    gemma = compiled(gemma_jax, normalize=(), prefix=6, suffix=7)
    pi0 = compiled(pi0_jax, embed_prefix=2, velocity=7, sample=3, embed_suffix=(), suffix_sight=1, time_condition=())
    return gemma, pi0, compiled(siglip_jax, embed=2, block=2, self_attention=2, layer_norm=())


class Jax:
    def __init__(self, name, dtype):
        import jax.numpy as jnp

        self.np = jnp
        self.gemma, self.pi0, self.siglip = _jax_modules()
        self.config = config(name)
        arrays = {path: jnp.asarray(x, dtype) for path, x in tiny.tree(self.config).items()}
        self.weights = self.pi0.weights({path: np.asarray(x) for path, x in arrays.items()}, self.config, jnp.asarray)
        self.tables = self.pi0.tabulate(self.weights, self.config)

    def array(self, x):
        return self.np.asarray(x)

    def turn(self, positions, head_dim):
        return self.gemma.rotation(positions, sampling.rope_frequencies(head_dim))

    def see(self, mask):
        return self.pi0.suffix_sight(mask, self.config)

    def images(self, images, blocks):
        """SigLIP's embedding, each block's attention and output, and the end."""
        w, size, jnp = self.weights.vision, self.config.vision, self.np
        x = self.siglip.embed(images, w, size)
        found = {"with_posemb": x, "stem": x - w.positions}
        x = x.astype(w.head.weight.dtype)
        for i in range(size.depth):
            own = w.blocks._replace(**{k: type(v)(v.weight[i], v.bias[i]) for k, v in w.blocks._asdict().items()})
            if i in blocks:
                normed = self.siglip.layer_norm(x, own.norm1)
                found[f"block{i:02d}_sa"] = self.siglip.self_attention(normed, own, size.heads)
            x = self.siglip.block(x, own, size.heads)
            if i in blocks:
                found[f"block{i:02d}_out"] = x
        found["encoded"] = self.siglip.layer_norm(x, w.norm)
        return {name: np.asarray(jnp.asarray(value, jnp.float32)) for name, value in found.items()}

    def numbers(self, x):
        return np.asarray(self.np.asarray(x, self.np.float32))

    def prefix(self, x, inputs, trim):
        attention, ffw, _ = self.weights.llm_norms
        turn = self.turn(inputs.positions, self.config.llm.head_dim)
        return self.gemma.prefix(x, inputs.mask, turn, self.weights.llm, attention, ffw, self.config.llm, trim=trim)

    def final(self, x):
        return self.gemma.normalize(x, self.weights.llm_norms[2])

    def row(self, i):
        import jax

        return jax.tree.map(lambda x: x[i], self.tables)

    def suffix(self, tokens, cache, see, turn, row):
        w = self.weights
        return self.gemma.suffix(
            tokens.astype(w.words.dtype), cache, see, turn, w.expert, row.attention, row.ffw, self.config.expert
        )

    def embed_suffix(self, x, state, row):
        return self.pi0.embed_suffix(x, state, self.weights.heads, row.time)

    def condition(self, embedding):
        return self.pi0.time_condition(embedding, self.weights.heads)


class Torch:
    def __init__(self, name, dtype):
        import torch

        from pirig.models import gemma_torch, pi0_torch, siglip_torch

        self.torch, self.gemma, self.pi0, self.siglip = torch, gemma_torch, pi0_torch, siglip_torch
        self.config = config(name)
        tensors = ((n, torch.from_numpy(a)) for n, a in weights.as_torch(tiny.tree(self.config), self.config))
        self.weights = pi0_torch.model(tensors, self.config, getattr(torch, dtype), torch.device("cpu"))
        self.tables = pi0_torch.tabulate(self.weights, self.config)

    def array(self, x):
        return self.torch.from_numpy(np.ascontiguousarray(x))

    def turn(self, positions, head_dim):
        return self.gemma.rotation(positions, self.array(sampling.rope_frequencies(head_dim)))

    def see(self, mask):
        return self.pi0.suffix_sight(mask, self.weights, self.config)

    def images(self, images, blocks):
        w, size = self.weights.vision, self.config.vision
        x = self.siglip.embed(images, w, size)
        found = {"with_posemb": x, "stem": x - w.embeddings.position_embedding.weight}
        x = x.to(w.post_layernorm.weight.dtype)
        for i, own in enumerate(w.encoder.layers):
            if i in blocks:
                found[f"block{i:02d}_sa"] = self.siglip.self_attention(own.layer_norm1(x), own.self_attn, size.heads)
            x = self.siglip.block(x, own, size.heads)
            if i in blocks:
                found[f"block{i:02d}_out"] = x
        found["encoded"] = w.post_layernorm(x)
        return {name: self.numbers(value) for name, value in found.items()}

    def numbers(self, x):
        return x.float().numpy()

    def prefix(self, x, inputs, trim):
        attention, ffw, _ = self.weights.llm.fixed_norms
        turn = self.turn(inputs.positions, self.config.llm.head_dim)
        return self.gemma.prefix(x, inputs.mask, turn, self.weights.llm, attention, ffw, self.config.llm, trim=trim)

    def final(self, x):
        return self.gemma.normalize(x, self.weights.llm.fixed_norms[2])

    def row(self, i):
        return self.pi0.row(self.tables, i)

    def suffix(self, tokens, cache, see, turn, row):
        w = self.weights
        tokens = tokens.to(w.action_out_proj.weight.dtype)
        return self.gemma.suffix(tokens, cache, see, turn, w.expert, row.attention, row.ffw, self.config.expert)

    def embed_suffix(self, x, state, row):
        return self.pi0.embed_suffix(x, state, self.weights, row.time)

    def condition(self, embedding):
        return self.pi0.time_condition(embedding, self.weights)


BACKENDS = {"jax": Jax, "torch": Torch}


def inputs(backend, given):
    mask, positions = sampling.prefix_layout(given, backend.config.vision.tokens)
    after = sampling.suffix_positions(mask, backend.config)
    arrays = (given.images, given.tokens, mask, positions, after, given.state, given.noise)
    return backend.pi0.Inputs(*map(backend.array, arrays))


def trace(backend, given):
    """Every value that golden files name, computed as the reference does."""
    config = backend.config
    own = inputs(backend, given)
    blocks = {0, config.vision.depth // 2, config.vision.depth - 1}
    first = backend.images(own.images[:, 0][:1], blocks)
    found = {f"siglip_base/{name}": value[:, GOLDEN_PATCHES] for name, value in first.items()}
    x, seen = backend.pi0.embed_prefix(own, backend.weights, config)
    found["siglip_base/tokens_first2"] = backend.numbers(seen)[:, :2]
    found["prefix/embs"], found["prefix/mask"] = backend.numbers(x), np.asarray(own.mask)
    found["prefix/positions"] = np.asarray(own.positions)
    out, cache = backend.prefix(x, own, trim=False)
    found["prefix/out"] = backend.numbers(backend.final(out))
    for name, layer in (("layer0", 0), ("last", -1)):
        found[f"prefix/k_{name}"] = backend.numbers(cache.keys[layer])
        found[f"prefix/v_{name}"] = backend.numbers(cache.values[layer])
    see = backend.see(own.mask)
    turn = backend.turn(own.suffix_positions, config.expert.head_dim)
    found["suffix0/positions"] = np.asarray(own.suffix_positions)
    times = sampling.times(config.steps)
    found["steps/time"], found["steps/posemb"] = times, sampling.time_embedding(times, config.expert.width)
    if config.time_in_norm:
        condition = backend.numbers(backend.condition(backend.array(found["steps/posemb"])))
        found["steps/adarms_cond"] = np.repeat(condition[:, None], len(given), axis=1)
    x, velocities, after = own.noise, [], []
    for i in range(config.steps):
        row = backend.row(i)
        if i == 0:
            tokens = backend.embed_suffix(x, own.state, row)
            found["suffix0/embs"] = backend.numbers(tokens)
            out = backend.suffix(tokens, cache, see, turn, row)
            found["suffix0/out"] = backend.numbers(backend.gemma.normalize(out, row.final))
        v = backend.pi0.velocity(x, own.state, cache, see, turn, backend.weights, row, config)
        velocities.append(backend.numbers(v))
        x = backend.array(backend.numbers(x) + np.float32(-1.0 / config.steps) * velocities[-1])
        after.append(backend.numbers(x))
    found["steps/v_t"], found["steps/x_after"] = np.stack(velocities), np.stack(after)
    found["trace_actions"] = after[-1]
    return found


def sample(backend, given, *, trim=True):
    given = sampling.trim(given) if trim else given
    tables = backend.tables if trim else None
    return backend.numbers(backend.pi0.sample(inputs(backend, given), backend.weights, tables, backend.config))
