"""Laws of the download, against a real server on localhost that fails to order."""

import dataclasses
import errno
import json
import logging
import math
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import types

import pytest

from pirig.checkpoints import download
from pirig.checkpoints.address import inside, parse
from pirig.checkpoints.journal import Journal, RemoteFile
from pirig.errors import ConfigError, StartError
from pirig.launch import fetch
from support.object_server import Fault, ObjectServer

PART = 4096
QUICK = download.Pace(part_bytes=PART, waits_s=(0.01, 0.02, 0.03), silence_s=0.5)
URL = "gs://openpi-assets/checkpoints/pi05_libero"
FOLDER = "openpi-assets/checkpoints/pi05_libero"
_random = random.Random(7)
FILES = {
    "params/ocdbt/d/weights": _random.randbytes(5 * PART + 17),
    "params/manifest": _random.randbytes(PART),  # exactly one part
    "params/empty": b"",
    "assets/a b/norm%stats.json": b'{"q01": 0}',
}


def get(url, home, **settings):
    """With the server that the environment variables name, as commands have it."""
    return download.fetch(url, home, **{"pace": QUICK, "streams": 2, "hub": fetch.hub(), **settings})


@pytest.fixture
def server(monkeypatch):
    objects = {f"{FOLDER}/{name}": data for name, data in FILES.items()}
    markers = {f"{FOLDER}/{name}": b"" for name in ("", "params/", "params/ocdbt/")}
    with ObjectServer({**objects, **markers, "big_vision/tokenizer.model": b"pieces" * 3000}) as server:
        monkeypatch.setenv("GOOGLE_BASE_URL", server.url)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(server):
    """Objects whose content was asked for."""
    return {name.removeprefix(FOLDER + "/") for name, _ in server.contents}


# What arrives, and where


def test_a_folder_arrives_byte_for_byte_where_openpi_looks_for_it(server, tmp_path):
    path = get(URL, tmp_path)
    assert path == tmp_path / FOLDER
    assert contents(path) == FILES
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "pi05_libero",
        "pi05_libero.lock",
        "pi05_libero.pirig.json",
    ]


def test_a_file_arrives_as_a_file(server, tmp_path):
    path = get("gs://big_vision/tokenizer.model", tmp_path)
    assert path == tmp_path / "big_vision/tokenizer.model"
    assert path.read_bytes() == b"pieces" * 3000


def test_what_is_here_is_not_asked_for_again(server, tmp_path):
    get(URL, tmp_path)
    before = len(server.tokens)
    assert contents(get(URL, tmp_path)) == FILES
    assert len(server.tokens) == before


@pytest.mark.parametrize("url", ["", "file://"])
def test_a_local_path_is_returned_as_it_is(url, tmp_path):
    code = (
        "import sys, pathlib; sys.modules['obstore'] = None\n"
        "from pirig.checkpoints.download import fetch\n"
        "print(fetch(sys.argv[1], pathlib.Path('nowhere')))"
    )
    found = subprocess.run([sys.executable, "-c", code, f"{url}{tmp_path}"], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(tmp_path)


def test_a_web_folder_arrives_without_what_lies_outside(server, tmp_path):
    path = get(f"{server.url}/{FOLDER}/", tmp_path)
    assert path == tmp_path / server.url.removeprefix("http://") / FOLDER
    assert contents(path) == FILES


def test_a_web_server_without_ranges_gives_small_files(server, tmp_path, caplog):
    server.ranges = False
    server.objects["site/small"] = b"x" * PART
    with caplog.at_level(logging.INFO, "pirig"):
        assert get(f"{server.url}/site/small", tmp_path).read_bytes() == b"x" * PART
    assert "gives no checksum for 1 files; only their sizes are checked" in caplog.text
    with pytest.raises(ConfigError, match=r"sends only whole files .* download it by hand"):
        get(f"{server.url}/big_vision/tokenizer.model", tmp_path)


def test_hugging_face_over_pages_and_redirects(server, tmp_path, monkeypatch):
    repo = {"model.safetensors": FILES["params/ocdbt/d/weights"], "config.json": b"{}", "a/b": b"1", "a/c": b"2"}
    server.objects |= {f"org/repo/{name}": data for name, data in repo.items()}
    monkeypatch.setenv("HF_TOKEN", "key")
    path = get("hf://org/repo", tmp_path)
    assert path == tmp_path / "huggingface/org/repo@main"
    assert contents(path) == repo
    assert contents(get("hf://org/repo@v1.0/a", tmp_path)) == {"b": b"1", "c": b"2"}
    assert get("hf://org/repo@v2/a/b", tmp_path) == tmp_path / "huggingface/org/repo@v2/a/b"
    assert {token for path, token in server.tokens if path.startswith("/cdn")} == {None}
    assert {token for path, token in server.tokens if not path.startswith("/cdn")} == {"Bearer key"}


def test_a_key_does_not_follow_a_redirect(server, tmp_path, monkeypatch):
    server.objects["org/repo/config.json"] = b"{}"
    server.moved = {"/api/models/org/repo/tree/main"}
    monkeypatch.setenv("HF_TOKEN", "key")
    get("hf://org/repo", tmp_path)
    assert [token for path, token in server.tokens if path in server.moved] == ["Bearer key", None]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_hugging_face_checksums_are_checked(name, server, tmp_path):
    server.objects[f"org/repo/{name}"] = b"abc"
    server.faults = [Fault("wrong", times=9)]
    with pytest.raises(
        StartError, match="arrived twice with checksum (sha256|git-sha1):.*, expected (sha256|git-sha1):"
    ):
        get("hf://org/repo", tmp_path)


def test_progress_ends_with_everything(server, tmp_path):
    seen = []
    get(URL, tmp_path, progress=seen.append)
    total = sum(map(len, FILES.values()))
    last = seen[-1]
    assert (last.bytes_done, last.bytes_total, last.files_done, last.files_total) == (total, total, 4, 4)
    assert last.eta_s == 0
    assert seen[0].bytes_done == 0
    assert seen[0].eta_s == math.inf
    assert [s.bytes_done for s in seen] == sorted(s.bytes_done for s in seen)


# Faults


@pytest.mark.parametrize("kind", ["cut", "short", "wrong", "stall", "503", "429", "slow"])
def test_one_fault_changes_nothing(kind, server, tmp_path):
    server.faults = [Fault(kind, "weights"), Fault(kind, "norm")]
    assert contents(get(URL, tmp_path)) == FILES
    assert [fault.times for fault in server.faults] == [0, 0]
    assert len(server.contents) >= (8 if kind == "slow" else 10)  # 8 parts, and 2 tries that failed


def test_a_short_answer_is_found_without_a_checksum(server, tmp_path):
    server.etags = {name: "composite" for name in server.objects}
    server.faults = [Fault("short", "weights", times=3)]
    assert contents(get(URL, tmp_path)) == FILES


def test_a_server_without_ranges_starts_a_cut_file_over(server, tmp_path):
    server.ranges, server.faults = False, [Fault("cut")]
    server.objects["site/small"] = data = _random.randbytes(4 << 16)
    path = download.fetch(f"{server.url}/site/small", tmp_path, pace=dataclasses.replace(QUICK, part_bytes=len(data)))
    assert path.read_bytes() == data
    assert len(server.contents) == 2


def test_a_cut_part_goes_on_where_it_was_cut(server, tmp_path):
    piece, cuts = 1 << 16, 3
    server.objects["bucket/large"] = data = _random.randbytes(16 * piece)
    server.faults = [Fault("cut", times=cuts)]
    path = download.fetch("gs://bucket/large", tmp_path, pace=dataclasses.replace(QUICK, part_bytes=8 * piece))
    assert path.read_bytes() == data
    assert server.served["bucket/large"] < len(data) + cuts * piece


def test_tries_are_bounded_and_what_arrived_is_kept(server, tmp_path):
    server.faults = [Fault("503", "weights", times=99)]
    with pytest.raises(
        StartError, match=r"weights: .*503.*; given up after 4 tries; what was fetched is kept in .*partial"
    ):
        get(URL, tmp_path, streams=1)
    assert len([name for name, _ in server.contents if name.endswith("weights")]) == 4
    assert not (tmp_path / FOLDER).exists()
    server.faults, server.contents = [], []
    assert contents(get(URL, tmp_path)) == FILES
    assert "assets/a b/norm%stats.json" not in names(server)


def test_a_listing_is_tried_again_too(server, tmp_path):
    server.statuses = {"/openpi-assets": 503}
    threading.Timer(0.02, server.statuses.clear).start()
    assert contents(get(URL, tmp_path)) == FILES


@pytest.mark.parametrize("url", [URL, f"HTTP/{FOLDER}/", "hf://org/repo"])
def test_a_listing_that_was_cut_is_no_short_listing(url, server, tmp_path):
    server.objects |= {f"org/repo/{name}": data for name, data in FILES.items()}
    server.cut_pages = 2
    assert contents(get(url.replace("HTTP", server.url), tmp_path)) == FILES
    assert not server.cut_pages


def test_wrong_twice_is_an_error_that_names_both(server, tmp_path):
    server.faults = [Fault("wrong", "manifest", times=99)]
    with pytest.raises(
        StartError, match=r"manifest arrived twice with checksum md5:\w{32}, expected md5:\w{32}; the source"
    ):
        get(URL, tmp_path)
    assert len([name for name, _ in server.contents if name.endswith("manifest")]) == 2
    server.faults = []
    assert contents(get(URL, tmp_path)) == FILES


def test_a_size_unlike_the_listing_is_an_error(server, tmp_path):
    server.listed_sizes = {f"{FOLDER}/params/manifest": PART - 1}
    with pytest.raises(
        StartError, match=rf"manifest is not what was listed: found {PART} bytes.*expected {PART - 1} bytes"
    ):
        get(URL, tmp_path)


def test_a_composite_object_has_only_its_size(server, tmp_path, caplog):
    server.etags = {f"{FOLDER}/params/manifest": "CKih16GjycgCEAE="}
    with caplog.at_level(logging.INFO, "pirig"):
        assert contents(get(URL, tmp_path)) == FILES
    assert "gives no checksum for 1 files; only their sizes are checked: params/manifest" in caplog.text


# Kills and second processes


def _child(url, home, result=None):
    path = get(url, home, streams=1)
    if result is not None:
        result.put(str(path))


def _killed_after(server, home, parts):
    """A process that fetches, killed when so many parts are in its journal."""
    server.faults = [Fault("slow", times=10**6)]
    process = multiprocessing.get_context("spawn").Process(target=_child, args=(URL, home))
    process.start()
    journal = (home / FOLDER).with_name("pi05_libero.pirig.partial") / "journal.jsonl"
    while not journal.exists() or journal.read_text().count('"part":') < parts:
        assert process.is_alive()
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    server.faults = []
    return journal


def test_a_killed_download_goes_on_in_mid_file(server, tmp_path):
    journal = _killed_after(server, tmp_path, 5)
    assert not (tmp_path / FOLDER).exists()
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    finished = {(event["file"], event["part"]) for event in events if "part" in event}
    server.contents = []
    assert contents(get(URL, tmp_path)) == FILES
    again = {
        (name.removeprefix(FOLDER + "/"), int(span.removeprefix("bytes=").split("-")[0]) // PART if span else 0)
        for name, span in server.contents
    }
    assert len(finished) >= 5
    assert not again & finished
    assert ("params/ocdbt/d/weights", 5) in again


def test_a_file_that_changed_meanwhile_starts_anew(server, tmp_path):
    _killed_after(server, tmp_path, 5)
    new = bytes(reversed(FILES["params/ocdbt/d/weights"]))
    server.objects[f"{FOLDER}/params/ocdbt/d/weights"] = new
    path = get(URL, tmp_path)
    assert contents(path) == {**FILES, "params/ocdbt/d/weights": new}


def test_two_processes_fetch_once(server, tmp_path):
    server.faults = [Fault("slow", times=10**6)]
    spawn = multiprocessing.get_context("spawn")
    result = spawn.Queue()
    both = [spawn.Process(target=_child, args=(URL, tmp_path, result)) for _ in range(2)]
    for process in both:
        process.start()
    assert {result.get(timeout=30) for _ in both} == {str(tmp_path / FOLDER)}
    for process in both:
        process.join()
    assert sum(server.served.values()) == sum(map(len, FILES.values()))


def test_one_waits_for_the_other_and_says_so(server, tmp_path, caplog):
    started, proceed = threading.Event(), threading.Event()

    def hold(_):
        started.set()
        proceed.wait(20)

    first = threading.Thread(target=get, args=(URL, tmp_path), kwargs={"progress": hold})
    first.start()
    assert started.wait(20)
    with caplog.at_level(logging.INFO, "pirig"):
        second = threading.Thread(target=get, args=(URL, tmp_path))
        second.start()
        while "waiting for its lock" not in caplog.text:
            assert second.is_alive()
            time.sleep(0.005)
    assert f"{tmp_path / FOLDER}.lock" in caplog.text
    proceed.set()
    first.join()
    second.join()
    assert [path for path, _ in server.tokens].count("/openpi-assets") == 3  # pages of one listing
    assert sum(server.served.values()) == sum(map(len, FILES.values()))


def test_a_cut_journal_line_never_happened(tmp_path):
    file = RemoteFile("a", "u", "a", 10, "t", "")
    journal = Journal(tmp_path, 4)
    journal.begin(file)
    journal.finish(file, 2)
    path = tmp_path / "journal.jsonl"
    whole = path.read_bytes()
    for cut in ('{"file": "a", "pa', '{"file": "a", "part": 1, ' + 99 * " ", '{"file": "a", "part": 1}'):
        path.write_bytes(whole + cut.encode())
        journal = Journal(tmp_path, 4)
        assert journal.finished(file) == {2}
        assert journal.finished_bytes(file) == 2
    journal.finish(file, 0)
    assert Journal(tmp_path, 4).finished(file) == {0, 2}
    assert path.read_bytes().count(b"\n") == len(path.read_bytes().splitlines()) == 3
    assert Journal(tmp_path, 5).finished(file) == set()


# The cache


def test_only_damaged_files_are_fetched_again(server, tmp_path, caplog):
    path = get(URL, tmp_path)
    (path / "params/manifest").write_bytes(b"cut")
    (path / "params/ocdbt/d/weights").unlink()
    (path / "mine").write_text("kept")
    server.contents = []
    assert contents(get(URL, tmp_path)) == {**FILES, "mine": b"kept"}
    assert names(server) == {"params/manifest", "params/ocdbt/d/weights"}
    assert "2 of 4 files missing or damaged: params/" in caplog.text


def test_wrong_content_is_found_by_verify_and_repaired(server, tmp_path):
    path = get(URL, tmp_path)
    assert download.verify(path) == ()
    (path / "params/manifest").write_bytes(b"x" * PART)
    assert download.verify(path) == ("params/manifest",)
    server.contents = []
    assert contents(get(URL, tmp_path)) != FILES
    assert not server.contents
    assert contents(get(URL, tmp_path, check_contents=True)) == FILES
    assert names(server) == {"params/manifest"}
    assert download.verify(path) == ()


def test_a_stop_while_files_are_put_in_place_is_repaired(server, tmp_path):
    path = get(URL, tmp_path)
    record = path.with_name("pi05_libero.pirig.json")
    record.write_text(record.read_text().replace('"complete": true', '"complete": false'))
    (path / "params/manifest").write_bytes(b"x" * PART)
    assert contents(get(URL, tmp_path)) == FILES
    assert '"complete": true' in record.read_text()


def test_a_damaged_record_is_made_anew_without_fetching(server, tmp_path):
    path = get(URL, tmp_path)
    path.with_name("pi05_libero.pirig.json").write_text("{")
    server.contents = []
    get(URL, tmp_path)
    assert server.contents == []
    assert download.verify(path) == ()


def test_a_repair_brings_what_the_remote_has_now(server, tmp_path):
    path = get(URL, tmp_path)
    server.objects[f"{FOLDER}/params/manifest"] = b"new"
    del server.objects[f"{FOLDER}/params/empty"]
    (path / "params/ocdbt/d/weights").unlink()
    new = {name: data for name, data in FILES.items() if name != "params/empty"} | {"params/manifest": b"new"}
    assert contents(get(URL, tmp_path)) == new


def test_openpis_own_download_is_taken_as_it_is(server, tmp_path, caplog):
    (tmp_path / FOLDER / "params").mkdir(parents=True)
    (tmp_path / FOLDER / "params/manifest").write_bytes(FILES["params/manifest"])
    with caplog.at_level(logging.INFO, "pirig"):
        get(URL, tmp_path)
    assert "was not fetched by pirig (no .pirig.json): taken as it is" in caplog.text
    assert not server.tokens
    with pytest.raises(ConfigError, match="--verify` compares it with its source"):
        download.verify(tmp_path / FOLDER)
    assert contents(get(URL, tmp_path, check_contents=True)) == FILES
    assert names(server) == FILES.keys() - {"params/manifest", "params/empty"}


def test_a_folder_of_which_a_part_was_fetched_is_not_taken_as_whole(server, tmp_path):
    get(f"{URL}/assets", tmp_path)
    server.contents = []
    path = get(URL, tmp_path)
    assert FILES.items() <= contents(path).items()
    assert names(server) == {"params/manifest", "params/ocdbt/d/weights"}


def test_an_empty_folder_in_its_place_is_not_taken_as_whole(server, tmp_path):
    (tmp_path / FOLDER / "params").mkdir(parents=True)
    assert contents(get(URL, tmp_path)) == FILES


def test_offline_uses_the_cache_or_says_how_to_get_there(server, tmp_path):
    with pytest.raises(
        StartError, match=rf"{URL} is not in the cache.*looked for {tmp_path / FOLDER}; run .pirig check"
    ):
        get(URL, tmp_path, offline=True)
    get(URL, tmp_path)
    before = len(server.tokens)
    assert contents(get(URL, tmp_path, offline=True)) == FILES
    assert len(server.tokens) == before


# Refusals


def test_a_disk_too_small_is_refused_before_any_content(server, tmp_path):
    server.listed_sizes = {f"{FOLDER}/params/manifest": 2**60}
    with pytest.raises(StartError, match=r"has [\d.]+ GiB free; 1073741824.00 GiB are needed; .*OPENPI_DATA_HOME"):
        get(URL, tmp_path)
    assert server.contents == []
    assert not (tmp_path / FOLDER).exists()


def test_what_is_here_already_needs_no_space(server, tmp_path, monkeypatch):
    _killed_after(server, tmp_path, 5)
    free = sum(map(len, FILES.values())) - 2 * PART
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=free))
    assert contents(get(URL, tmp_path)) == FILES


@pytest.mark.parametrize("name", ["../../escape", "x/../../../escape", "/etc/passwd"])
def test_names_that_lead_out_are_refused(name, server, tmp_path):
    server.listed_too = [f"{FOLDER}/{name}"]
    with pytest.raises(ConfigError, match="expected paths without '..'; nothing was fetched"):
        get(URL, tmp_path)
    server.plain_pages = {"/site/": f'<a href="{name.replace("/", "%2f")}">x</a><a href="%2e%2e%2fout">x</a>'}
    with pytest.raises(ConfigError, match="expected a path inside its folder|is an empty folder"):
        get(f"{server.url}/site/", tmp_path)
    server.objects[f"org/repo/{name}"] = b"1"
    with pytest.raises(ConfigError, match="has the path .* expected a path inside its folder, without '..'"):
        get("hf://org/repo", tmp_path)
    assert server.contents == []


@pytest.mark.parametrize("name", ["", "/a", "a//b", "a/", "..", "a/../b", ".", "a\\b", "a\0b"])
def test_what_is_no_plain_path_is_refused(name):
    with pytest.raises(ConfigError, match="expected a path inside"):
        inside(name, of="somewhere")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://bucket/x", "has the scheme 's3'; expected gs://BUCKET/PATH, https://"),
        ("gs://bucket", "names no file and no folder; expected gs://"),
        ("gs://bucket/../x", "has the path '../x'"),
        ("https://host/%2e%2e/x", "has the path '../x'"),
        ("https://host/x?key=1", "has a query or a fragment"),
        ("https://me:word@host/x", "https://…@host has a user or a password in it"),  # pragma: allowlist secret
        ("hf://org", "names no file and no folder"),
    ],
)
def test_an_address_that_cannot_be_is_refused(url, message):
    with pytest.raises(ConfigError) as error:
        parse(url)
    assert message in str(error.value)
    assert "word" not in str(error.value).replace("password", "")


@pytest.mark.parametrize("url", [f"{URL}x", "hf://org/none", "HTTP/none/x", "HTTP/none/", "gs://none/x/"])
def test_404_says_what_was_looked_for(url, server, tmp_path):
    url = url.replace("HTTP", server.url)
    with pytest.raises(
        ConfigError, match=rf"nothing is at {url} \(404\); expected a file or a folder; check the spelling"
    ):
        get(url, tmp_path)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("url", ["gs://shut/x", "hf://org/shut", "HTTP/shut/x"])
def test_refused_access_names_the_remedy(url, status, server, tmp_path):
    server.statuses = {path: status for path in ("/shut/x", "/api/models/org/shut/tree/main")}
    with pytest.raises(ConfigError, match=r"access is refused \(401 or 403\); expected a public file.* set HF_TOKEN"):
        get(url.replace("HTTP", server.url), tmp_path)


def test_an_empty_folder_is_refused(server, tmp_path):
    server.objects["bucket/folder/"] = b""
    with pytest.raises(ConfigError, match="gs://bucket/folder is an empty folder; expected files"):
        get("gs://bucket/folder", tmp_path)


def test_a_missing_local_path_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no file or folder .*none; expected one, or a URL such as gs://"):
        get(str(tmp_path / "none"), tmp_path)


def test_no_server_is_an_error_after_all_tries(tmp_path):
    with pytest.raises(StartError, match="given up after 4 tries"):
        get("http://127.0.0.1:9/x", tmp_path)


def test_a_home_that_cannot_be_written_names_the_remedy(server, tmp_path):
    (tmp_path / "openpi-assets").write_text("a file where a folder should be")
    with pytest.raises(StartError, match=f"{os.strerror(errno.EEXIST)}|Not a directory.*OPENPI_DATA_HOME"):
        get(URL, tmp_path)


# The command


def pirig(*words, **variables):
    return subprocess.run(
        [sys.executable, "-m", "pirig.cli.main", "checkpoint", *map(str, words)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )


def test_the_command_prints_the_path_and_nothing_else(server, tmp_path):
    found = pirig("fetch", URL, "--data-home", tmp_path)
    assert (found.returncode, found.stdout) == (0, f"{tmp_path / FOLDER}\n"), found.stderr
    (tmp_path / FOLDER / "params/manifest").write_bytes(b"x" * PART)
    again = pirig("fetch", URL, "--data-home", tmp_path, "--verify")
    assert again.returncode == 0
    assert "1 of 4 files missing or damaged: params/manifest" in again.stderr
    assert contents(tmp_path / FOLDER) == FILES


def test_a_signal_stops_the_command_and_keeps_what_arrived(server, tmp_path):
    server.objects["bucket/large"] = bytes(3 << 20)
    server.faults = [Fault("slow")]
    words = ["checkpoint", "fetch", "gs://bucket/large", "--data-home", str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-m", "pirig.cli.main", *words], stderr=subprocess.PIPE, text=True)
    while not server.served:
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "SIGTERM: stopped; what was fetched is kept" in errors
    assert "Traceback" not in errors
    assert (tmp_path / "bucket/large.pirig.partial/data").exists()


@pytest.mark.parametrize("variable", ["PIRIG_OFFLINE", "HF_HUB_OFFLINE"])
def test_a_variable_puts_the_command_offline(variable, server, tmp_path):
    found = pirig("fetch", URL, OPENPI_DATA_HOME=str(tmp_path), **{variable: "1"})
    assert found.returncode == 4
    assert "this is offline; looked for" in found.stderr
    assert not server.tokens


def test_an_unknown_action_names_those_that_exist():
    found = pirig("fetsh")
    assert found.returncode == 2
    assert "has no action 'fetsh'; there are: fetch" in found.stderr


def test_a_place_is_never_outside_home():
    home = pathlib.Path("/home")
    for url in (URL, "hf://a/b", "https://h:8000/x/y/", "hf://a/b@c/d"):
        assert parse(url).place(home).is_relative_to(home)
