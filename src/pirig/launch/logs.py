"""Show log lines on stderr, above a progress bar if there is one."""

import logging
import sys

from rich.console import Console
from rich.logging import RichHandler

STDERR = Console(stderr=True)


def log_to_stderr() -> None:
    """Show pirig's log on stderr, one line per event; a progress bar stays below them on a terminal."""
    if STDERR.is_terminal:
        handler: logging.Handler = RichHandler(console=STDERR, show_path=False, markup=False, highlighter=None)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    root = logging.getLogger("pirig")
    root.handlers.clear()
    root.addHandler(handler)
    root.propagate = False
    root.setLevel(logging.INFO)
