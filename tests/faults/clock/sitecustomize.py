"""Imported by Python when it starts, where this folder is on PYTHONPATH: the wall clock is three days behind as soon as
the file exists that FAULTS_CLOCK names. The machine's own clock is everybody's; monotonic clocks never jump.
"""

import datetime
import os
import time

_JUMP_S = 3 * 24 * 3600
_true, _true_ns, _file = time.time, time.time_ns, os.environ["FAULTS_CLOCK"]
_Datetime = datetime.datetime


def _behind() -> int:
    return _JUMP_S if os.path.exists(_file) else 0


class _Jumping(_Datetime):
    @classmethod
    def now(cls, tz=None):
        return _Datetime.fromtimestamp(_true() - _behind(), tz)


time.time = lambda: _true() - _behind()
time.time_ns = lambda: _true_ns() - _behind() * 10**9
datetime.datetime = _Jumping
