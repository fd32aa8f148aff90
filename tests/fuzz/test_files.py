"""Whatever a file holds, its reader gives a value or an error of ours that names it; nothing hangs, nothing is run."""

import json
import pathlib
import shutil
import struct

import ml_dtypes  # noqa: F401 (gives NumPy its bfloat16)
import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pirig.checkpoints import assets, read, record, write
from pirig.checkpoints.journal import Journal, RemoteFile
from pirig.errors import ConfigError
from pirig.quantization import packs
from pirig.quantization.configuration import QuantConfig
from pirig.quantization.records import GroupRecord, LayerRecord
from pirig.results import runs
from pirig.results.statistics.tally import tally
from pirig.results.store import RunStore
from pirig.transforms.normalize import parse_norm_stats
from support.damage import CHANGES, DEEP, EDITS, changed, damaged
from support.recorded_runs import make_run

ARRAYS = {"a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "b/scale": np.ones(4, np.float32)}
NORM_STATS = {"norm_stats": {"state": {key: [0.0, 1.0] for key in ("mean", "std", "q01", "q99")}}}
RECORD = {"url": "gs://b/c", "files": {"x": {"size": 1, "tag": "t", "checksum": "", "sha256": "00"}}, "complete": True}
FEW = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def arrays_of(folder):
    arrays = read.open_checkpoint(folder).arrays
    return {name: arrays[name] for name in arrays}


def safetensors_file(home):
    folder = home / "safetensors"
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(safetensors.numpy.save(ARRAYS))
    return folder / "model.safetensors", lambda: arrays_of(folder)


def orbax_tree(home):
    folder = home / "orbax"
    if not folder.exists():
        parts = ((name, (), array) for name, array in ARRAYS.items())
        shapes = {name: array.shape for name, array in ARRAYS.items()}
        write.write(folder, "orbax", parts, shapes, "float32", {})
        (home / "tree").write_bytes((folder / "params/_METADATA").read_bytes())
    (folder / "params/_METADATA").write_bytes((home / "tree").read_bytes())
    return folder / "params/_METADATA", lambda: arrays_of(folder)


def norm_stats(home):
    file = home / "stats/assets/x/norm_stats.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(NORM_STATS))
    return file, lambda: parse_norm_stats(assets.norm_stats(home / "stats", "x"), str(file))


def download_record(home):
    target = home / "download"
    target.mkdir(exist_ok=True)
    file = home / f"download{record.SUFFIX}"
    file.write_text(json.dumps(RECORD))

    def use():
        found = record.read(target)
        return record.damaged(target, found, contents=True)

    return file, use


def manifest(home):
    make_run(home / "run", tasks=1, trials=2, manifest={"sessions": [{"pirig": "1"}]}, configuration_is="new")
    return home / "run/manifest.json", lambda: runs.overview(RunStore.read(home / "run"))


def episodes(home):
    planned = make_run(home / "lines", tasks=1, trials=2)

    def use():
        return tally(list(RunStore.read(home / "lines").results()), planned)

    return home / "lines/episodes.jsonl", use


KINDS = [safetensors_file, orbax_tree, norm_stats, download_record, manifest, episodes]


def survives(file: pathlib.Path, use):
    """The file may be named with its folder, where the folder is what a user knows."""
    try:
        use()
    except ConfigError as e:
        assert str(file) in str(e) or str(file.parent) in str(e), f"{file} is not named: {e}"


@pytest.fixture
def valid(request, home):
    for folder in ("run", "lines"):
        shutil.rmtree(home / folder, ignore_errors=True)
    file, use = request.param(home)
    use()
    return file, use, file.read_bytes()


@pytest.mark.parametrize("valid", KINDS, indirect=True, ids=lambda kind: kind.__name__)
@FEW
@given(EDITS)
def test_damaged_bytes(valid, edits):
    file, use, data = valid
    file.write_bytes(damaged(data, edits))
    survives(file, use)


@pytest.mark.parametrize("valid", KINDS[1:], indirect=True, ids=lambda kind: kind.__name__)
@FEW
@given(CHANGES)
def test_a_document_with_other_values(valid, changes):
    file, use, data = valid
    lines = data.splitlines() if file.suffix == ".jsonl" else [data]
    file.write_text("\n".join(json.dumps(changed(json.loads(line), changes)) for line in lines) + "\n")
    survives(file, use)


@pytest.mark.parametrize("valid", KINDS, indirect=True, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "data", [b"", b"\x00", DEEP, b"\xff\xfe", b"null\n", b"[]\n", b"1\n", b"{}\n", b'"x"\n'], ids=repr
)
def test_something_else_altogether(valid, data):
    file, use, _ = valid
    file.write_bytes(data[:200_000])
    survives(file, use)


@pytest.mark.parametrize(
    "names", [[], ["params"], ["value"], ["..", "..", "etc"], ["a/b"], ["a.b"], ["x|gzip:"], [1], ["a", None]], ids=str
)
def test_a_name_in_a_tree_that_is_none_is_refused(home, names):
    file, use = orbax_tree(home)
    file.write_text(json.dumps({"tree_metadata": {"x": {"key_metadata": [{"key": name} for name in names]}}}))
    with pytest.raises(ConfigError, match="_METADATA names an array .*do not trust it"):
        use()


@FEW
@given(CHANGES)
def test_a_safetensors_head_with_other_values(home, changes):
    file, use = safetensors_file(home)
    data = file.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    head = json.dumps(changed(json.loads(data[8 : 8 + size]), changes)).encode()
    file.write_bytes(struct.pack("<Q", len(head)) + head + data[8 + size :])
    survives(file, use)


@pytest.fixture(scope="module")
def pack(home):
    layer, group = LayerRecord(4, (2, 3), 0.1), GroupRecord(("l",), 1, False, False, False)
    header = packs.Header("r", "c", "float32", QuantConfig().document(), {}, {"l": layer}, {"l": group})
    file = home / "x.safetensors"
    packs.write(file, header, {"l.codes": torch.arange(6, dtype=torch.uint8)})
    return file, file.read_bytes()


@FEW
@given(EDITS)
def test_a_damaged_pack(pack, edits):
    file, data = pack
    file.write_bytes(damaged(data, edits))
    try:
        found = packs.read(file)
        packs.check(found.header, file, recipe="r", checkpoint="c", dtype="float32")
    except ConfigError as e:
        assert str(file) in str(e)
    else:
        assert found.header.layers["l"].shape == (2, 3)
        assert found.tensors["l.codes"].tolist() == list(range(6))


@FEW
@given(CHANGES)
def test_a_pack_whose_head_says_something_else(pack, changes):
    """Also what its digest would not tell: which layers there are, and in how many bits."""
    file, data = pack
    size = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8 : 8 + size])
    said = json.loads(head["__metadata__"]["pirig"])
    other = changed(said, changes)
    head["__metadata__"]["pirig"] = json.dumps(other)
    encoded = json.dumps(head).encode()
    file.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data[8 + size :])
    try:
        packs.read(file)
    except ConfigError as e:
        assert str(file) in str(e)
    else:
        assert json.dumps(other, sort_keys=True) == json.dumps(said, sort_keys=True)


@FEW
@given(EDITS)
def test_a_damaged_journal_forgets_and_goes_on(home, edits):
    """What it does not know is fetched again."""
    folder = home / "journal"
    folder.mkdir(exist_ok=True)
    lines = [{"file": "x", "size": 10, "tag": "t", "checksum": "", "part_bytes": 4}, {"file": "x", "part": 1}]
    whole = "".join(json.dumps(line) + "\n" for line in lines).encode()
    (folder / "journal.jsonl").write_bytes(damaged(whole, edits))
    file = RemoteFile("x", "gs://b/x", "x", 10, "t", "")
    journal = Journal(folder, 4)
    journal.begin(file)
    assert journal.finished(file) <= set(journal.parts(file))
    assert journal.finished_bytes(file) <= 10
    journal.place(file).unlink()


@FEW
@given(st.binary(max_size=64) | st.just(DEEP))
def test_a_damaged_note_of_a_fingerprint_is_made_again(home, data):
    folder, cache = home / "noted", home / "cache"
    if not folder.exists():
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(safetensors.numpy.save(ARRAYS))
    expected = assets.fingerprint(read.open_checkpoint(folder), home / "other-cache")
    for note in (cache / "fingerprints").glob("*"):
        note.write_bytes(data)
    assert assets.fingerprint(read.open_checkpoint(folder), cache) == expected
