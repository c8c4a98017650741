"""`python -m servegen`."""

from servegen.cli import main

if __name__ == "__main__":
    main()
