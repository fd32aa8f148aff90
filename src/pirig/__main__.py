"""`python -m pirig`: the same as `pirig`."""

from pirig.cli.main import main

if __name__ == "__main__":
    main()
