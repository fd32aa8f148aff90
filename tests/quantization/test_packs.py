"""Making packs, keeping them, putting them into models; and every way in which one can be the wrong one."""

import dataclasses
import functools
import json

import pytest
import safetensors
import safetensors.torch
import torch

from pirig.errors import ConfigError
from pirig.quantization import apply, packs
from pirig.quantization.configuration import QuantConfig
from pirig.quantization.kernels import choose
from pirig.quantization.linear import QuantizedLinear
from pirig.quantization.packs import Header
from pirig.quantization.quantize import quantize
from pirig.quantization.records import LayerRecord
from pirig.quantization.select import select
from support import small_model as small
from support.outlier_layers import error

KERNEL = choose("cpu")
PAPER = {"method": "duquant-paper", "block": 16}  # its search for rotations takes 50 times as long with blocks of 128


@torch.inference_mode()
def made(configuration, observations=None, memory_bytes=1 << 30):
    model, observations = small.model(), small.inputs() if observations is None else observations

    def run():
        for x in observations:
            small.forward(model, x)

    return quantize(model, small.groups(), configuration, run, memory_bytes=memory_bytes)


made_once = functools.cache(made)  # for tests that only read what was made


def kept(folder, configuration, **changes):
    found = made_once(configuration)
    said = {"recipe": "small", "checkpoint": "abc", "dtype": "float32", "configuration": configuration.document()}
    header = Header(**(said | changes), calibration={"samples": 6}, layers=found.layers, groups=found.groups)
    file = folder / "small.safetensors"
    packs.write(file, header, found.tensors)
    return file


@torch.inference_mode()
def loaded(file, configuration):
    own, pack = small.model(), packs.read(file)
    installed = apply.Installation(pack, "auto", len(select(small.groups(), configuration)))
    installed.install(own, torch.device("cpu"))
    return own, installed.report(own)


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({}, 2e-2),
        ({"weight_bits": 8}, 5e-4),
        ({"weight_bits": 8, "activation_bits": 16}, 1e-4),
        ({"group": 16}, 2e-2),
        ({"method": "rtn"}, 5e-2),
        ({"method": "rtn", "weight_bits": 8}, 5e-4),
        ({**PAPER, "weight_bits": 8}, 5e-4),
        ({"permute": False, "smoothing": 0.0, "weight_bits": 8}, 5e-4),
        ({"percentile": 99.0, "block": 16, "weight_bits": 8}, 5e-4),
        ({"weight_bits": 8, "bits_of": (("layers.0.down", 16),)}, 5e-4),
        ({"weight_bits": 8, "exclude": "gate"}, 5e-4),
        ({"weight_bits": 8, "include": "down"}, 5e-4),
        ({"weight_bits": 2}, 0.5),
        ({"activation_bits": 4}, 5e-2),
    ],
    ids=str,
)
def test_a_quantized_model_does_what_the_float_one_does(tmp_path, settings, most):
    """Whatever is folded where: with 8 bits nothing but rounding is left."""
    configuration = QuantConfig(**settings)
    own, report = loaded(kept(tmp_path, configuration), configuration)
    expected = len(select(small.groups(), configuration))
    assert report["layers"] == {"expected": expected, "matched": expected, "replaced": expected}
    assert sum(isinstance(part, QuantizedLinear) for part in own.modules()) == expected
    x = small.inputs(8)[-1]
    with torch.inference_mode():
        assert error(small.forward(own, x), small.forward(small.model(), x)) < most


@pytest.mark.parametrize("settings", [{}, {"method": "rtn"}, PAPER], ids=str)
def test_the_same_inputs_give_the_same_bytes(tmp_path, settings):
    configuration = QuantConfig(**settings)
    first = kept(tmp_path, configuration).read_bytes()
    made_once.cache_clear()
    assert kept(tmp_path, configuration).read_bytes() == first


def test_how_much_memory_there_is_changes_nothing():
    plenty, none = made_once(QuantConfig()), made(QuantConfig(), memory_bytes=0)
    assert all(torch.equal(none.tensors[name], x) for name, x in plenty.tensors.items())


def test_other_observations_give_another_pack():
    one, two = made_once(QuantConfig()), made(QuantConfig(), small.inputs(5))
    assert any(not torch.equal(two.tensors[name], x) for name, x in one.tensors.items())


def test_all_observations_are_looked_at():
    """The last as well as the first: a pack without it is another one."""
    seen = small.inputs()
    all_of_them = made_once(QuantConfig())
    for left_out in (0, len(seen) - 1):
        fewer = made(QuantConfig(), [x for i, x in enumerate(seen) if i != left_out])
        assert any(not torch.equal(fewer.tensors[name], x) for name, x in all_of_them.tensors.items())


def test_weights_of_the_float_model_are_left_alone():
    """Twice in a row, with and without the permutation."""
    own = small.model()
    before = {name: x.clone() for name, x in own.state_dict().items()}
    for permute in (False, False, True):
        with torch.inference_mode():
            quantize(own, small.groups(), QuantConfig(permute=permute), lambda: small.forward(own, small.inputs()[0]))
        assert all(torch.equal(x, before[name]) for name, x in own.state_dict().items())


def test_without_a_permutation_twice_is_the_same_as_once():
    one, two = made_once(QuantConfig(permute=False)), made(QuantConfig(permute=False))
    assert all(torch.equal(two.tensors[name], x) for name, x in one.tensors.items())
    assert not any(name.endswith(".order") for name in one.tensors)


def test_a_layer_with_sixteen_bits_keeps_its_weight(tmp_path):
    configuration = QuantConfig(bits_of=(("layers.0.down", 16),))
    own, report = loaded(kept(tmp_path, configuration), configuration)
    assert torch.equal(own["layers"][0].down.weight, small.model()["layers"][0].down.weight)
    assert own["layers"][0].down.weight.abs().max() > 0
    assert report["layers"]["replaced"] == 5


def test_rows_do_not_depend_on_the_batch(tmp_path):
    x = torch.cat(small.inputs())
    for settings in ({}, {"group": 16}, PAPER, {"method": "rtn", "activation_bits": 4}):
        configuration = QuantConfig(**settings)
        own, _ = loaded(kept(tmp_path, configuration), configuration)
        layer = own["layers"][0].gate
        with torch.inference_mode():
            together = layer(x)
            assert all(torch.equal(layer(x[i : i + 1])[0], together[i]) for i in (0, 7, len(x) - 1))
            assert torch.equal(layer(x[3:20]), together[3:20])


@pytest.mark.parametrize("settings", [{}, {"group": 16}, {"method": "rtn", "weight_bits": 2}], ids=str)
def test_joined_layers_do_what_each_does_and_hold_nothing_twice(tmp_path, settings):
    configuration = QuantConfig(**settings)
    own, _ = loaded(kept(tmp_path, configuration), configuration)
    block, x = own["layers"][0], small.inputs()[0]
    with torch.inference_mode():
        apart = torch.cat([block.gate(x), block.up(x)], dim=1)
        before = apply.held([block.gate, block.up])
        joined = block.gate.joined_with([block.up])
        assert torch.equal(joined(x), apart)
        assert torch.equal(torch.cat([block.gate(x), block.up(x)], dim=1), apart)
    assert apply.held([block.gate, block.up, joined]) <= before + 4 * x.shape[1]
    assert block.gate.joined_with([block.down]) is None
    assert block.gate.joined_with([torch.nn.Linear(4, 4)]) is None


def test_sums_are_scaled_as_the_contract_says(tmp_path):
    """acc · sx · sw, in float32, of codes that anybody can read from the layer."""
    configuration = QuantConfig()
    own, _ = loaded(kept(tmp_path, configuration), configuration)
    layer, x = own["layers"][0].down, torch.randn(9, 128)
    with torch.inference_mode():
        codes, scale = KERNEL.quantize_rows(x, layer.vec, layer.order, layer.block, 8)
        weights = torch.round(layer.packed.dequantized() / layer.packed.scale[:, None]).long()
        sums = codes.long() @ weights.T
        assert torch.equal(layer(x), sums.float() * scale[:, None] * layer.packed.scale)


def test_what_is_held_is_counted(tmp_path):
    configuration = QuantConfig()
    _, report = loaded(kept(tmp_path, configuration), configuration)
    weights = 2 * (2 * 64 * 128 + 128 * 64)
    assert report["bytes"]["before"] == 4 * weights
    codes, scales = weights // 2, 4 * 2 * (128 + 128 + 64)
    vectors = 2 * (2 * (64 * (4 + 8)) + 128 * 4)  # of gate and up vec and order each; of down signs alone
    assert codes + scales <= report["bytes"]["after"] <= codes + scales + vectors
    assert report["kernel"] == KERNEL.name
    assert report["error"]["by_layer"].keys() == report_layers(report)


def report_layers(report):
    assert 0 < report["error"]["mean"] < 0.1
    return set(report["error"]["by_layer"])


@pytest.mark.parametrize("where", [0.3, 0.6, 0.95])
def test_a_damaged_pack_is_refused(tmp_path, where):
    file = kept(tmp_path, QuantConfig())
    content = bytearray(file.read_bytes())
    head = 8 + int.from_bytes(content[:8], "little")
    content[head + int(where * (len(content) - head))] ^= 1
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{file} is damaged: .*pirig quantize"):
        packs.read(file)


@pytest.mark.parametrize("length", [0, 7, 100, 5000, -1])
def test_a_truncated_pack_is_refused(tmp_path, length):
    file = kept(tmp_path, QuantConfig())
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ConfigError, match=f"the pack {file} cannot be read: .*pirig quantize"):
        packs.read(file)


def test_a_foreign_file_is_refused(tmp_path):
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(3)}, file)
    with pytest.raises(ConfigError, match="no pack of pirig's"):
        packs.read(file)
    safetensors.torch.save_file({"x": torch.zeros(3)}, file, {"pirig": "{"})
    with pytest.raises(ConfigError, match="damaged header"):
        packs.read(file)
    safetensors.torch.save_file({"x": torch.zeros(3)}, file, {"pirig": json.dumps({"version": 99})})
    with pytest.raises(ConfigError, match="version 99; expected 2"):
        packs.read(file)


@pytest.mark.parametrize("what", ["recipe", "checkpoint", "dtype"])
def test_a_pack_of_something_else_is_refused(tmp_path, what):
    file = kept(tmp_path, QuantConfig(), **{what: "another"})
    expected = {"recipe": "small", "checkpoint": "abc", "dtype": "float32"}
    with pytest.raises(ConfigError, match=f"made for {what} another; this is {expected[what]}"):
        packs.check(packs.read_header(file), file, **expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: {"layers": h.layers | {"layers.9.up": h.layers["layers.0.up"]}}, "6 layers were .* has 7"),
        (lambda h: {"groups": {
                        **h.groups,
                        "layers.0.gate": dataclasses.replace(h.groups["layers.0.gate"], layers=("layers.9.up",))
                    },
                    "layers": {**h.layers, "layers.9.up": h.layers["layers.0.up"]}}, "has a layer layers.9.up"),
        (lambda h: {"layers": h.layers | {"layers.0.up": LayerRecord(4, (1, 64), 0.1)}}, "the model has"),
        (lambda h: {"configuration": {**h.configuration, "block": 5}}, "damaged configuration|power of two"),
        (lambda h: {"configuration": {}}, "damaged configuration"),
    ],
)  # fmt: skip
def test_a_pack_that_does_not_fit_the_model_is_refused(tmp_path, change, message):
    file = kept(tmp_path, QuantConfig())
    pack = packs.read(file)
    packs.write(file, dataclasses.replace(pack.header, **change(pack.header)), pack.tensors)
    with pytest.raises(ConfigError, match=message):
        loaded(file, QuantConfig())


def test_a_pack_that_lacks_codes_is_refused(tmp_path):
    file = kept(tmp_path, QuantConfig())
    pack = packs.read(file)
    del pack.tensors["layers.1.down.codes"]
    packs.write(file, pack.header, pack.tensors)
    with pytest.raises(ConfigError, match=r"lacks codes or scales of layers.1.down"):
        loaded(file, QuantConfig())


def test_records_are_kept_as_plain_json(tmp_path):
    """Under the fields' names, with lists for tuples; so packs from before records were classes are read."""
    file = kept(tmp_path, QuantConfig())
    with safetensors.safe_open(file, "pt") as opened:
        document = json.loads(opened.metadata()["pirig"])
    layer, group = document["layers"]["layers.0.up"], document["groups"]["layers.0.gate"]
    assert layer == {"bits": 4, "shape": layer["shape"], "error": layer["error"]}
    assert group == {
        "layers": ["layers.0.gate", "layers.0.up"],
        "repeats": 1,
        "scales_taken_over": False,
        "order_taken_over": False,
        "rotation_taken_over": False,
    }
    assert packs.read_header(file).layers["layers.0.up"] == LayerRecord(4, tuple(layer["shape"]), layer["error"])


@pytest.mark.parametrize("changes", [{"bits": None}, {"more": 1}])
def test_a_record_with_other_fields_is_damage(tmp_path, changes):
    file = kept(tmp_path, QuantConfig())
    with safetensors.safe_open(file, "pt") as opened:
        document = json.loads(opened.metadata()["pirig"])
    record = document["layers"]["layers.0.up"] | changes
    document["layers"]["layers.0.up"] = {name: value for name, value in record.items() if value is not None}
    safetensors.torch.save_file({"x": torch.zeros(3)}, file, {"pirig": json.dumps(document)})
    with pytest.raises(ConfigError, match="damaged header .*make it again with: pirig quantize"):
        packs.read_header(file)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    found = made_once(QuantConfig(method="rtn"))
    header = Header("small", "abc", "float32", {}, {}, found.layers, found.groups)
    with pytest.raises(ConfigError, match=r"file/x.safetensors cannot be written.*name another folder"):
        packs.write(tmp_path / "file" / "x.safetensors", header, found.tensors)


def test_groups_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="groups of 48 columns with 4 bits do not fit; expected a divisor of 64"):
        made(QuantConfig(group=48))


def test_a_pack_is_deterministic_down_to_its_header(tmp_path):
    header = packs.read_header(kept(tmp_path, QuantConfig()))
    assert header.version == 2
    assert len(header.digest) == 64
    with safetensors.safe_open(tmp_path / "small.safetensors", "pt") as opened:
        assert list(opened.metadata()) == ["pirig"]  # two entries would be written in any order
    assert (tmp_path / "small.safetensors").stat().st_mode & 0o777 == 0o644
