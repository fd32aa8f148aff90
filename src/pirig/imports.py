"""Heavy packages stay behind extras; a module that only sometimes needs one asks for it here."""

import importlib
import importlib.util
from types import ModuleType

from pirig.errors import MissingExtra


def require(package: str, *, extra: str) -> ModuleType:
    """Imports `package`. Raises MissingExtra, whose message is the install line."""
    if importlib.util.find_spec(package.partition(".")[0]) is None:
        raise MissingExtra(package, extra)
    return importlib.import_module(package)
