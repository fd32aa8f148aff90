"""List the layers of π0 and π0.5 that can be quantized: the 252 linear layers of language model and action expert.

Embeddings, norms, adaRMS, the time MLP, action_in and action_out, and SigLIP are not quantized. Together they have
0.6 B parameters, and most of them affect every action.
"""

from pirig.models.config import ModelConfig
from pirig.models.weight_table import EXPERT, LLM
from pirig.quantization.select import Fold, Group


def groups(config: ModelConfig) -> list[Group]:
    """Return the groups of layers that share a transform, in the order in which the model computes them."""
    assert config.llm.depth == config.expert.depth
    assert config.llm.heads == config.expert.heads
    return [group for i in range(config.llm.depth) for group in _layer(f"layers.{i}.", config.llm.heads)]


def _layer(layer: str, heads: int) -> list[Group]:
    """Return the groups of one layer, for both decoders.

    o_proj reads mixed values, and down_proj reads the product of gate and up. The transforms that these two layers
    need of their inputs can therefore be folded into the rows of the preceding layers, except for a rotation across a
    product. The expert attends to the language model's values beside its own, so both o_proj share a transform.
    """
    attention = [f"{decoder}{layer}self_attn." for decoder in (LLM, EXPERT)]
    mlp = [f"{decoder}{layer}mlp." for decoder in (LLM, EXPERT)]
    values, mixers = tuple(f"{own}v_proj" for own in attention), tuple(f"{own}o_proj" for own in attention)
    found = [Group((f"{own}q_proj", f"{own}k_proj", v)) for own, v in zip(attention, values, strict=True)]
    mixed = Fold(scaled=values, ordered=values, rotates=True, readers=mixers)
    found.append(Group(mixers, apart=True, repeats=heads, fold=mixed))
    for own in mlp:
        gate, up, down = (f"{own}{name}" for name in ("gate_proj", "up_proj", "down_proj"))
        product = Fold(scaled=(up,), ordered=(gate, up), rotates=False, readers=(down,))
        found += [Group((gate, up)), Group((down,), fold=product)]
    return found
