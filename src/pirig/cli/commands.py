"""List all commands in one table: their purpose, their flags, their function, and examples.

`main` dispatches by this table; help, completion and tests read it. An example is at most 76 columns wide, so that help
fits 80.
"""

import dataclasses
import importlib
from collections.abc import Mapping, Sequence

from pirig.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Command:
    purpose: str  # one line
    flags: str  # MODULE.CLASS, below pirig.cli
    examples: tuple[str, ...]  # the words after `pirig`; two blanks and a # begin an explanation
    function: str = "run"  # in the same module; it takes the flags and returns the exit code

    def kind(self) -> type:
        """Return the dataclass of the command's flags. Imports its module."""
        module, _, name = self.flags.partition(".")
        return getattr(importlib.import_module(f"pirig.cli.{module}"), name)

    def run(self, flags: object) -> int:
        """Run the command and return its exit code. Raises PirigError, and Interrupted on a signal."""
        module = importlib.import_module(f"pirig.cli.{self.flags.partition('.')[0]}")
        return getattr(module, self.function)(flags)


GROUPS: Mapping[str, str] = {
    "stack": "run policy servers and simulators in containers, on all GPUs",
    "checkpoint": "download, inspect and make checkpoints",
}

COMMANDS: Mapping[str, Command] = {
    "eval": Command(
        "run LIBERO episodes with a policy and report success rates",
        "eval.EvalArgs",
        (
            "eval --policy scripted --suite libero_object --num-trials-per-task 1",
            "eval --policy pi05_libero --dry-run  # what it would do, fetch and take",
            "eval --policy ws://gpu-box:8000 --suite all --workers 8 --video failures",
            "eval --policy pi05_libero --policy-dir ./ckpt --quantize w4a8",
        ),
    ),
    "serve": Command(
        "serve a policy over a WebSocket, for openpi's and pirig's clients",
        "serve.ServeArgs",
        (
            "serve policy:baseline --policy.name scripted",
            "serve --env LIBERO  # the published checkpoint, on 127.0.0.1:8000",
            "serve --host 0.0.0.0 policy:checkpoint --policy.config pi05_libero",
        ),
    ),
    "quantize": Command(
        "quantize a checkpoint: write a pack of its weights in a few bits",
        "quantize.QuantizeArgs",
        (
            "quantize pi05_libero --bits w4a8  # eval --quantize w4a8 finds it",
            "quantize pi05_libero --bits w4a8 --dry-run  # names the layers",
            "quantize pi05_libero --bits w8a8 --method rtn --policy-dir ./ckpt",
        ),
    ),
    "replay": Command(
        "run recorded episodes again, check their states, make videos",
        "replay.ReplayArgs",
        (
            "replay RUN 3/17  # task 3, trial 17",
            "replay RUN failures --camera frontview --size 640",
            "replay results/libero/runs/night all --no-video  # checks only",
        ),
    ),
    "verify": Command(
        "run a sample of a run again, and report where episodes differ",
        "verify.VerifyArgs",
        (
            "verify RUN  # ten episodes, the policy of the run",
            "verify RUN --sample 50 --workers 2 --policy-dir ./ckpt",
            "verify RUN failures --policy ws://gpu-box:8000",
        ),
    ),
    "report": Command(
        "write pages, tables and files about runs or the latest results",
        "report.ReportArgs",
        (
            "report  # all suites, beside the published row",
            "report RUN --format html json csv md",
            "report RUN --format md --out -  # to standard output",
        ),
    ),
    "compare": Command(
        "compare policies A and B on the same episodes",
        "compare.CompareArgs",
        (
            "compare RUN_A RUN_B",
            "compare RUN_A RUN_B --margin 2  # is B no worse by 2 points?",
            "compare SPATIAL_A,GOAL_A SPATIAL_B,GOAL_B --json --no-page",
        ),
    ),
    "power": Command(
        "compute how many episodes detect a difference, and the reverse",
        "power.PowerArgs",
        (
            "power --baseline 97 --discordance 4",
            "power --like RUN_A RUN_B --difference 2 --episodes 500 2000",
        ),
    ),
    "runs": Command(
        "list the runs, the latest first",
        "runs.RunsArgs",
        ("runs", "runs --results /data/results --json"),
    ),
    "merge": Command(
        "join the parts of a run that several machines made",
        "merge.MergeArgs",
        ("merge WHOLE PART_1 PART_2", "merge WHOLE /mnt/a/night /mnt/b/night --results results/libero"),
    ),
    "stack run": Command(
        "evaluate suites: one server per GPU, one simulator per suite",
        "stack.RunArgs",
        (
            "stack run --suite libero_goal,libero_10",
            "stack run --suite libero_object --policy scripted",
            "stack run --gpus 0 1 --client-args='--video none'",
        ),
    ),
    "stack up": Command(
        "start only the policy servers, on 127.0.0.1, and keep them up",
        "stack.ServersArgs",
        ("stack up", "stack up --policy pi05_libero --servers 2 --port 9000"),
        function="up",
    ),
    "stack status": Command(
        "list the stack's containers and their state", "stack.CheckoutArgs", ("stack status",), function="status"
    ),
    "stack logs": Command(
        "print the logs of the stack's containers",
        "stack.LogsArgs",
        ("stack logs", "stack logs server-0  # and follow it"),
        function="logs_of",
    ),
    "stack down": Command(
        "remove the stack's containers and network; results are kept",
        "stack.CheckoutArgs",
        ("stack down",),
        function="down",
    ),
    "doctor": Command(
        "check this machine, and print how to fix what is wrong",
        "doctor.DoctorArgs",
        ("doctor", "doctor --policy model --port 9000  # for a checkpoint", "doctor --json  # for programs"),
    ),
    "checkpoint fetch": Command(
        "download a checkpoint, or any other file or folder",
        "checkpoint.FetchArgs",
        (
            "checkpoint fetch gs://openpi-assets/checkpoints/pi05_libero",
            "checkpoint fetch hf://ORG/REPO@main/folder --data-home /data",
            "checkpoint fetch gs://openpi-assets/checkpoints/pi05_libero --verify",
        ),
        function="fetch",
    ),
    "checkpoint inspect": Command(
        "print what is in a checkpoint and which recipes it fits",
        "checkpoint.InspectArgs",
        ("checkpoint inspect ./ckpt", "checkpoint inspect gs://openpi-assets/checkpoints/pi0_libero"),
        function="inspect",
    ),
    "checkpoint random": Command(
        "write a checkpoint with random weights, to try everything with",
        "checkpoint.RandomArgs",
        (
            "checkpoint random pi05_libero_tiny ./ckpt",
            "checkpoint random pi05_libero ./big --layout safetensors  # 7 GB",
        ),
        function="random",
    ),
    "completion": Command(
        "print a script for completion of commands and flags in a shell",
        "completion.CompletionArgs",
        (
            "completion bash >~/.pirig.bash && echo . ~/.pirig.bash >>~/.bashrc",
            "completion zsh >~/.zfunc/_pirig  # a folder of fpath",
        ),
    ),
}


def find(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the name of the command that `words` begin with, and the words after it.

    Raises ConfigError for an unknown command, and for a group's unknown action.
    """
    name = " ".join(words[: 2 if words[0] in GROUPS else 1])
    if name in COMMANDS:
        return name, words[len(name.split()) :]
    if words[0] in GROUPS:
        actions = [rest for first, _, rest in (name.partition(" ") for name in COMMANDS) if first == words[0]]
        raise ConfigError(f"pirig {words[0]} has no action {words[1]!r}; there are: {', '.join(actions)}")
    firsts = dict.fromkeys(name.partition(" ")[0] for name in COMMANDS)
    raise ConfigError(f"pirig has no command {words[0]!r}; there are: {', '.join(firsts)}")


def described(name: str) -> str:
    """Return purpose and examples, which begin a command's help. (tyro joins lines that begin with a letter.)"""
    command = COMMANDS[name]
    return "\n".join([command.purpose[0].upper() + command.purpose[1:] + ".", "", *_shown(command.examples)])


def usage(group: str = "") -> str:
    """Return the help of pirig itself, or of a group of commands."""
    word, shown = ("ACTION", f"pirig {group}") if group else ("COMMAND", "pirig")
    names = [name.partition(" ") for name in COMMANDS]
    found = {rest: COMMANDS[f"{group} {rest}"].purpose for first, _, rest in names if first == group}
    if not group:
        found = {first: GROUPS.get(first) or COMMANDS[first].purpose for first, _, _ in names}
    rows = "\n".join(f"  {name:<12}{purpose}" for name, purpose in found.items())
    tail = f"`{shown} {word} --help`: flags with examples, units and defaults."
    if group:
        examples = [COMMANDS[f"{group} {name}"].examples[0] for name in found]
        return "\n".join([f"usage: {shown} {word} [FLAGS]", "", rows, "", *_shown(examples), "", tail])
    return "\n".join([f"usage: {shown} {word} [FLAGS]", "", rows, "", *_shown(_FIRST_STEPS), "", tail, _EVERYWHERE])


_FIRST_STEPS = (
    "doctor  # what this machine lacks",
    "eval --policy scripted --suite libero_object --num-trials-per-task 1",
    "eval --policy pi05_libero --suite all --dry-run  # plan, cost, downloads",
    "report  # the latest results",
)
_EVERYWHERE = """
--debug (or PIRIG_DEBUG=1) prints the traceback of an error; --version.
Exit codes: 0 complete, 2 unusable flag or file, 3 episodes missing,
4 something did not start, 130 and 143 interrupted, 1 a bug."""


def _shown(examples: tuple[str, ...] | list[str]) -> list[str]:
    return ["examples:", *(f"  pirig {example}" for example in examples)]
