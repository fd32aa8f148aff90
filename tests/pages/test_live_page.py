"""The live page in a real browser, while real worker processes run episodes of a scene without physics."""

import contextlib
import functools
import struct
import threading
import time

from pirig.evaluation.episode import run_episode
from pirig.evaluation.executors import ProcessExecutor
from pirig.evaluation.frame_recorder import FrameRecorder
from pirig.evaluation.plan import Plan, plan
from pirig.evaluation.run import run
from pirig.launch.observers.live import Followed, watching
from pirig.policies.baselines import RandomPolicy
from pirig.results.page.run import page
from pirig.results.report import make_report
from pirig.results.store import RunStore
from pirig.testing import FakeEnvironment
from pirig.types import Rules
from support.browser import CONTRAST

SUITE = "libero_goal"
RULES = Rules(max_policy_steps=60, settle_action=(0,) * 7)
SPECS = plan(SUITE, range(3), range(4), seed=7)
BROKEN = SPECS[1]


class SeesImages(RandomPolicy):
    metadata = {"name": "random", "observations": ["observation/image"]}


class Breaks(FakeEnvironment):
    def reset(self, spec, look=()):
        if spec == BROKEN:
            raise RuntimeError("no <scene> today")
        return super().reset(spec, look)


class Gated:
    """A worker that shows its first look, and ends its third episode and those after it when the gate is open."""

    description = {}

    def __init__(self, index, frames, gate):
        self.policy = FrameRecorder(SeesImages(), frames / f"{index}.png")
        self.env, self.gate, self.done = Breaks(), gate, 0

    def __call__(self, job):
        result = run_episode(job, self.env, self.policy, RULES)
        self.done += 1
        while self.done > 2 and not self.gate.exists():
            time.sleep(0.02)
        return result

    def close(self):
        self.policy.close()


def test_the_page_follows_a_run(tab, tmp_path):
    gate, configuration = tmp_path / "gate", {"suite": SUITE, "policy": "random"}
    with (
        contextlib.ExitStack() as watched,
        RunStore.open(tmp_path / "run", configuration) as store,
    ):
        watch = watched.enter_context(watching("127.0.0.1", 0))
        watch.begin([Followed(store, SPECS, {i: f"put the bowl on plate {i}" for i in range(3)})])
        executor = ProcessExecutor(2, on_start=watch.started)
        make = functools.partial(Gated, frames=watch.frames, gate=gate)
        running = threading.Thread(target=run, args=(Plan(SPECS), store, executor, make, watch))
        running.start()
        try:
            for name, width in (("desk", 1280), ("phone", 390)):
                tab.open(watch.address, width=width)
                tab.wait_for("document.querySelector('#now').innerText.includes('3 of 12 episodes scored')")
                tab.wait_for("document.querySelectorAll('#now img').length == 2")
                tab.wait_for("[...document.images].every(image => image.complete && image.naturalWidth == 16)")
                assert tab.evaluate("document.documentElement.scrollWidth") <= width
                assert [text for text in tab.evaluate(CONTRAST) if text[0] < 4.5] == []
                assert all(tab.images())
                assert any("what the policy last saw in task" in name for name in tab.images())
                size = struct.unpack(">II", tab.screenshot(tmp_path / f"{name}.png")[16:24])
                assert size[0] == width
                assert size[1] > 700
            found = list(store.results())
            scored = [result for result in found if result.status != "error"]
            good = sum(result.status == "success" for result in scored)
            assert len(scored) == 3
            assert tab.text(".number") == f"{100 * good / 3:.1f}%"
            assert "so far" in tab.text("#headline")
            assert "RuntimeError: no <scene> today" in tab.text("#errors")
            assert tab.evaluate("document.querySelector('#lost').hidden")
        finally:
            gate.touch()
            running.join()
        tab.wait_for("document.querySelector('#now').innerText.includes('11 of 12 episodes scored')")
        results = [result for result in store.results() if result.status != "error"]
        good = sum(result.status == "success" for result in results)
        assert tab.text(".number") == f"{100 * good / 11:.1f}%"
        assert f"{good} of 11 episodes" in tab.text("#headline")
        (tmp_path / "run/report.html").write_text(page(make_report(store, planned=SPECS)))
        watch.ends(tmp_path / "run/report.html")
        tab.wait_for("document.querySelector('#ended a')?.href.startsWith('blob:')")
        assert [text for text in tab.evaluate(CONTRAST) if text[0] < 4.5] == []
        assert tab.complaints == []
        watched.close()
        tab.wait_for("!document.querySelector('#lost').hidden")
        tab.evaluate("document.querySelector('#ended a').click()")
        tab.wait_for("location.protocol == 'blob:' && document.querySelector('#provenance')")
        assert f"{good} of 11 episodes" in tab.text("#headline")
        assert "incomplete" in tab.text("#headline")
