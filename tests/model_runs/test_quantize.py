"""Quantization as a user asks for it: by variables, by flags, in a process and behind a server."""

import pytest

from pirig.quantization import packs
from pirig.results.store import RunStore
from support import command, tiny

NAME = "pi05_libero_tiny"
MODEL = ["--policy", NAME, "--policy-dir", "ckpt"]
EPISODES = ["--task-suite-name", "libero_spatial", "--task-ids", "0", "--trials", "0", "1", "--replan-steps", "10",
            "--video", "none", "--workers", "1"]  # fmt: skip
W4A8 = {"OPENPI_DUQUANT_WBITS_DEFAULT": "4", "OPENPI_DUQUANT_ABITS": "8", "OPENPI_DUQUANT_CALIB_STEPS": "2"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.workspace(tmp_path_factory.mktemp("quantize"), NAME)


def run(folder, *words, give=command.call, **variables):
    return give(folder, *words, OPENPI_DUQUANT_PACKDIR="packs", **variables)


def evaluate(folder, name, *words, **variables):
    ended = run(folder, "eval", *EPISODES, "--run", name, *words, **variables)
    assert ended.code == 0, ended.err
    return command.outcomes(folder, name), RunStore.read(folder / "results/libero/runs" / name).manifest, ended.err


@pytest.fixture(scope="module")
def headless(folder):
    """Quantized because variables say so; there was no pack before. The log has the lines of all its processes."""
    return evaluate(folder, "headless", *MODEL, give=command.run, OPENPI_DUQUANT_DEBUG="1", **W4A8)


@pytest.fixture(scope="module")
def exact(folder):
    """Not quantized, though a variable watches quantization."""
    return evaluate(folder, "float", *MODEL, "--backend", "torch", give=command.run, OPENPI_DUQUANT_DEBUG="1")


def test_the_pack_is_made_before_the_first_episode_and_kept(folder, headless):
    _, _, log = headless
    made, first = log.index("it is made now, once"), log.index("libero_spatial task 0 trial 0")
    assert made < log.index("rounding layers: 56 of 56") < log.index("loaded into torch") < first
    assert log.count("quantized, relative output error") == 56  # which DEBUG asks for
    (file,) = (folder / "packs").glob("*.safetensors")
    header = packs.read_header(file)
    assert header.calibration["samples"] == 2
    assert len(header.calibration["sha256"]) == 64
    again = run(folder, "quantize", NAME, "--policy-dir", "ckpt", **W4A8)
    assert again.code == 0
    assert again.out.strip() == str(file.relative_to(folder))
    assert "is there; --fresh makes it again" in again.err


def test_the_manifest_has_the_proof(folder, headless):
    _, manifest, _ = headless
    (file,) = (folder / "packs").glob("*.safetensors")
    said = manifest["configuration"]["policy_metadata"]["quantization"]
    assert said["layers"] == {"expected": 56, "matched": 56, "replaced": 56}
    assert said["pack"] == packs.read_header(file).digest
    assert said["name"] == "w4a8"
    assert said["bytes"]["after"] < said["bytes"]["before"] / 3
    assert said["kernel"]
    assert manifest["sessions"][-1]["quantization"] == said
    assert manifest["sessions"][-1]["variables"]["OPENPI_DUQUANT_WBITS_DEFAULT"] == "4"


def test_headless_and_over_a_websocket_the_same_bits(folder, headless):
    """By variables in one, by the pack's file in the other."""
    (file,) = (folder / "packs").glob("*.safetensors")
    checkpoint = ["policy:checkpoint", "--policy.config", NAME, "--policy.dir", "ckpt"]
    with command.serving(folder, "--quantize", str(file), *checkpoint) as address:
        outcomes, manifest, _ = evaluate(folder, "served", "--policy", address)
        asked = run(folder, "eval", *EPISODES, "--run", "served", "--policy", address, "--quantize", "w4a8")
    assert outcomes == headless[0]
    assert manifest["configuration"]["policy_metadata"] == headless[1]["configuration"]["policy_metadata"]
    assert asked.code == 0, "a server that is quantized may be asked for quantization"


def test_float_against_quantized_gives_a_verdict(folder, headless, exact):
    assert exact[0].keys() == headless[0].keys()
    assert exact[0] != headless[0]
    found = run(folder, "compare", "float", "headless", "--margin", "50")
    assert found.code == 0, found.err
    assert "2 pairs" in found.out
    assert "McNemar" in found.out
    assert "the policies differ by quantization, of the same checkpoint. A: not quantized. B: w4a8" in found.out


def test_a_dry_run_names_the_layers_and_stops(folder):
    found = run(folder, "eval", *EPISODES, *MODEL, "--run", "dry", OPENPI_DUQUANT_DRYRUN="1", **W4A8)
    lines = found.out.splitlines()
    assert found.code == 0
    assert len(lines) == 57
    assert lines[-1] == "56 of 56 layers; method duquant"
    assert lines[0].endswith("layers.0.self_attn.q_proj  w4a8")
    assert not (folder / "results/libero/runs/dry").exists()
    dry = run(folder, "quantize", NAME, "--bits", "w3a4", "--include", "q_proj", "--dry-run")
    assert dry.code == 0
    assert dry.out.splitlines()[-1] == "8 of 56 layers; method duquant"


@pytest.mark.parametrize(
    ("words", "variables", "message"),
    [
        ([*MODEL], {"OPENPI_DUQUANT_WBIT": "4"}, "did you mean OPENPI_DUQUANT_WBITS?"),
        ([*MODEL, "--quantize", "int4"], {}, "quantization 'int4' is not known; expected w4a8"),
        ([*MODEL, "--quantize", "none.safetensors"], {}, "there is no pack none.safetensors; make it"),
        ([*MODEL, "--quantize", "none.safetensors"], W4A8, "both say what to quantize; leave one out"),
        ([*MODEL, "--quantize", "w4a8", "--backend", "jax"], {}, "quantized models run in PyTorch only"),
        (["--policy", "zero"], W4A8, "quantization was asked for, and the policy zero is not quantized"),
        ([*MODEL], {"OPENPI_DUQUANT_INCLUDE": "vision"}, "no layer matches INCLUDE='vision'"),
    ],
)
def test_what_cannot_be_done_is_an_error_before_anything_starts(folder, words, variables, message):
    found = run(folder, "eval", *EPISODES, "--run", "refused", *words, **variables)
    assert found.code == 2
    assert message in found.err
    assert "Traceback" not in found.err
    assert not (folder / "results/libero/runs/refused").exists()


def test_watching_alone_quantizes_nothing(exact):
    _, manifest, log = exact
    assert "none asks for quantization: the model stays as it is" in log
    assert "quantization" not in manifest["configuration"]["policy_metadata"]


def test_a_damaged_pack_stops_the_run(folder, headless):
    (file,) = (folder / "packs").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    (folder / "damaged.safetensors").write_bytes(content)
    found = run(folder, "eval", *EPISODES, *MODEL, "--run", "damaged", "--quantize", "damaged.safetensors")
    assert found.code in (2, 4)
    assert "damaged.safetensors is damaged" in found.err
