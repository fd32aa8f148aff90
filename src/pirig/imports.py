"""Import heavy packages, which are optional extras. A module that needs one only sometimes imports it here."""

import importlib
import importlib.util
from types import ModuleType

from pirig.errors import MissingExtra


def require(package: str, *, extra: str) -> ModuleType:
    """Import `package`. Raises MissingExtra, whose message is the install command."""
    if importlib.util.find_spec(package.partition(".")[0]) is None:
        raise MissingExtra(package, extra)
    return importlib.import_module(package)
