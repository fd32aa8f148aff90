"""The live page without a browser: what it is told is what it says, and it gives out nothing else."""

import base64
import contextlib
import hashlib
import http.client
import json
import re
import socket
import threading
import time
import urllib.request

import pytest

from pirig.errors import StartError
from pirig.launch.observers.live import Followed, Watch
from pirig.results.live import serving
from pirig.results.store import RunStore
from support.page_text import parse
from support.recorded_runs import make_run


@pytest.fixture
def watch(tmp_path):
    (tmp_path / "frames").mkdir()
    return Watch(tmp_path / "frames")


@pytest.fixture
def ask(watch):
    with serving(watch, "127.0.0.1", 0) as address:

        def answer(path, method="GET", **headers):
            with contextlib.closing(http.client.HTTPConnection(address.split("/")[2], timeout=30)) as connection:
                connection.request(method, path, headers=headers)
                found = connection.getresponse()
                return found.status, found.read()

        yield answer


def test_before_a_run_begins_there_is_nothing_to_show(ask):
    assert json.loads(ask("/state")[1]) == {"revision": -1, "title": "pirig", "fragments": {}}


@pytest.fixture
def results(tmp_path, watch):
    """Four results of a run of ten episodes, which the page follows; the first of them has begun, with a picture."""
    planned = make_run(tmp_path / "run", tasks=2, trials=5, recorded=4)
    make_run(tmp_path / "empty", tasks=2, trials=5, recorded=0)
    watch.begin([Followed(RunStore.read(tmp_path / "empty"), planned, {0: "open the drawer", 1: "close it"})])
    results = list(RunStore.read(tmp_path / "run").results())
    watch.started(0, results[0].spec)
    (watch.frames / "0.png").write_bytes(b"a picture")
    return results


def state(ask, seen=-1):
    return json.loads(ask(f"/state?seen={seen}")[1])


def test_an_episode_is_shown_when_it_begins(results, ask):
    now = parse(state(ask)["fragments"]["now"])
    assert "task 0 trial 0" in now.text
    assert "0 of 10 episodes scored" in now.text


def test_what_a_worker_sees_is_shown(results, ask):
    now = parse(state(ask)["fragments"]["now"])
    assert re.fullmatch(r"frame/0\.png\?at=\d+", now.one("img").attributes["src"])
    assert ask("/frame/0.png?at=3") == (200, b"a picture")


def test_what_a_page_has_is_not_sent_again(results, ask):
    """But for what its workers are at, which always changes."""
    first = state(ask)
    assert len(first["fragments"]) > 1
    assert list(state(ask, first["revision"])["fragments"]) == ["now"]


def test_results_are_counted_as_they_come(results, watch, ask):
    before = state(ask)["revision"]
    for result in results:
        watch.result(result)
    after = state(ask, before)
    successes = sum(result.status == "success" for result in results)
    headline = parse(after["fragments"]["headline"])
    assert headline.one("p", class_="number").text == f"{25 * successes:.1f}%"
    assert "so far" in headline.text
    assert "running: 4 of 10 scored" in headline.text
    assert after["title"].startswith("4/10")


def test_a_worker_that_has_ended_its_episode_waits(results, watch, ask):
    for result in results:
        watch.result(result)
    now = parse(state(ask)["fragments"]["now"])
    assert "4 of 10 episodes scored, about" in now.text
    assert "waits" in now.text


def test_the_page_has_a_place_for_each_fragment(results, watch, ask):
    for result in results:
        watch.result(result)
    page = parse(ask("/")[1].decode())
    assert {section.attributes["id"] for section in page.find("section")} >= state(ask)["fragments"].keys()


def test_what_a_run_has_already_counts_from_the_start(tmp_path, watch):
    planned = make_run(tmp_path / "run", tasks=2, trials=5, recorded=7)
    watch.begin([Followed(RunStore.read(tmp_path / "run"), planned, {})])
    text = parse(watch.state(-1)["fragments"]["now"]).text
    assert "7 of 10 episodes scored" in text
    assert "left" not in text


def test_of_several_runs_the_one_that_goes_on_is_shown_and_all_are_counted(tmp_path, watch):
    plans = {suite: make_run(tmp_path / suite, tasks=2, trials=2, recorded=1, suite=suite)
             for suite in ("libero_goal", "libero_object")}  # fmt: skip
    watch.begin([Followed(RunStore.read(tmp_path / suite), planned, {}) for suite, planned in plans.items()])
    before = watch.state(-1)
    assert before["title"] == "2/8 · libero_goal · pirig"
    assert "provenance" not in before["fragments"]
    watch.started(0, plans["libero_object"][1])
    assert "libero_object task" in parse(watch.state(-1)["fragments"]["now"]).text
    (result,) = RunStore.read(tmp_path / "libero_object").results()
    watch.result(result)
    after = watch.state(before["revision"])
    assert after["title"] == "2/8 · libero_object · pirig"
    assert "libero_object" in parse(after["fragments"]["provenance"]).text
    assert "provenance" not in watch.state(after["revision"])["fragments"]


@pytest.mark.parametrize(
    "path",
    [
        "/frame/1.png",
        "/frame/../../etc/passwd",
        "/frame/%2e%2e/manifest.json",
        "/frame/..%2f..%2fetc/passwd",
        "/frame/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/frame/%252e%252e%252fetc%252fpasswd",
        "/frame/..%5c..%5cetc.png",
        "/frame/0.png/../0.tmp",
        "/frame/0%00.png",
        "/frame/-1.png",
        "//etc/passwd",
        "/frame/0.tmp",
        "/x",
    ],
)
def test_nothing_else_is_given_out(watch, ask, path):
    (watch.frames / "0.tmp").write_bytes(b"half a picture")
    (watch.frames.parent / "manifest.json").write_text("{}")
    assert ask(path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_it_is_read_only(ask, method):
    assert ask("/state", method)[0] == 501


def test_nonsense_is_no_error(ask):
    assert ask("/state?seen=twelve")[0] == 200
    assert ask("/", "HEAD") == (200, b"")


def test_a_port_that_is_taken_is_named(watch):
    with serving(watch, "127.0.0.1", 0) as address:
        port = int(address.rstrip("/").rsplit(":", 1)[1])
        taken = f"live page on 127.0.0.1:{port}: .*; choose another --live PORT"
        with pytest.raises(StartError, match=taken), serving(watch, "127.0.0.1", port):
            pass
    with pytest.raises(StartError, match="choose another --live PORT"), serving(watch, "127.0.0.1", 70000):
        pass


HOSTS = [("127.0.0.1:99", 200), ("localhost", 200), ("evil.example:80", 403), ("[::1]:8080", 200), ("10.0.0.5", 200)]


@pytest.mark.parametrize("listens", ["127.0.0.1", "0.0.0.0"])  # a container listens on all, and is published on one
@pytest.mark.parametrize(("host", "status"), [*HOSTS, (socket.gethostname(), 200)])
def test_a_site_that_gives_itself_this_address_reads_nothing(watch, listens, host, status):
    with serving(watch, listens, 0) as address:
        port = int(address.rstrip("/").rsplit(":", 1)[1])
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request("GET", "/state", headers={"Host": host})
            assert connection.getresponse().status == status


def test_the_report_of_what_has_ended_is_given_out_and_nothing_beside_it(tmp_path, watch, ask):
    planned = make_run(tmp_path / "run", tasks=1, trials=2)
    watch.begin([Followed(RunStore.read(tmp_path / "run"), planned, {})])
    assert ask("/report/0")[0] == 404
    assert parse(ask("/")[1].decode()).one(id="ended").has("hidden", None)
    (tmp_path / "run/report.html").write_text("the report")
    watch.ends(tmp_path / "run/report.html")
    ended = parse(json.loads(ask("/state")[1])["fragments"]["ended"])
    assert ended.one("a").attributes["href"] == "report/0"
    assert str(tmp_path / "run/report.html") in ended.text
    assert ask("/report/0") == (200, b"the report")
    assert ask("/report/1")[0] == 404


def test_a_browser_runs_our_script_and_no_other(tmp_path, watch):
    """That the hash is the script's, a browser says in tests/pages."""
    planned = make_run(tmp_path / "run", tasks=1, trials=1)
    watch.begin([Followed(RunStore.read(tmp_path / "run"), planned, {0: "</script><script>alert(1)</script>"})])
    with serving(watch, "127.0.0.1", 0) as address, urllib.request.urlopen(address, timeout=30) as answer:
        policy, page = answer.headers["Content-Security-Policy"], answer.read().decode()
        assert answer.headers["Server"] == "pirig"
    assert page.count("<script") == 1
    script = page.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]


def test_many_connections_that_say_nothing_leave_the_page_alive(watch):
    with serving(watch, "127.0.0.1", 0) as address, contextlib.ExitStack() as crowd:
        where = ("127.0.0.1", int(address.rstrip("/").rpartition(":")[2]))
        for _ in range(100):
            crowd.enter_context(socket.create_connection(where))
        threads = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
        assert len(threads) <= 32
        crowd.close()
        for _ in range(100):  # until they are seen to have gone
            with contextlib.suppress(OSError, http.client.HTTPException):
                with urllib.request.urlopen(address, timeout=30) as answer:
                    assert answer.status == 200
                return
            time.sleep(0.1)
        pytest.fail("the page is gone")
