"""`python -m micscreen` is the command `micscreen`."""

from micscreen.cli import main

if __name__ == "__main__":
    main()
