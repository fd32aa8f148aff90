"""The server under the reference's name: `python scripts/serve_policy.py --env LIBERO policy:checkpoint …`."""

import sys

from pirig.cli.main import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
