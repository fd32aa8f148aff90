"""The process that rows start: `scene.run`, with the tests' folder on the path."""

import pathlib
import sys

if __name__ == "__main__":  # workers import this file too
    sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
    from faults import scene

    scene.run(sys.argv[1:])
