"""The evaluator under the reference's name: `python examples/libero/main.py --args.task-suite-name libero_goal …`."""

import sys

from pirig.cli.main import main

if __name__ == "__main__":
    main(["eval", *sys.argv[1:]])
