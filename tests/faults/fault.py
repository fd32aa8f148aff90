"""What a row is."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Literal

from faults.trial import Ended, Trial

Expected = Literal["recovers", "resumed", "refused"]
"""recovers: the command that was struck ends with the clean CSV; resumed: the same command does, given again; refused:
the command says no before it runs an episode, and does its work once its message was followed."""

Strike = Callable[[Trial], Iterator[Ended]]
"""A row's course: yields how the command ended that was struck, and goes on with what mends it."""


@dataclasses.dataclass(frozen=True)
class Fault:
    name: str
    role: str  # that is struck
    phase: str
    expected: Expected
    strike: Strike
    says: str = ""  # a pattern in what the command printed; empty: there is nothing to say
    code: int = 0  # of the command that was struck
    scene: str = "fake"
    again: tuple[str, ...] = ()  # more flags of the command that mends, as the message names them
    slow: bool = False

    @property
    def id(self) -> str:
        return f"{self.scene}: {self.role}, {self.phase}: {self.name}"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """As it was found, and as it is printed."""

    fault: str
    role: str
    phase: str
    scene: str
    outcome: str
    lost: int  # episodes
    miscounted: int  # episodes
    recover_s: float
