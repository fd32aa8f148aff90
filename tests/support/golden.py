"""Where golden values are: PIRIG_GOLDEN, else the project's shared folder, else the compact subset in tests/data."""

import os
import pathlib

_TESTS = pathlib.Path(__file__).parents[1]
_SHARED = _TESTS.parents[1] / "shared" / "golden"
DATA = _TESTS / "data"
ROOT = pathlib.Path(os.environ.get("PIRIG_GOLDEN") or (_SHARED if _SHARED.is_dir() else DATA))
