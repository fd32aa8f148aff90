"""Run `pirig` as `python -m pirig`."""

from pirig.cli.main import main

if __name__ == "__main__":
    main()
