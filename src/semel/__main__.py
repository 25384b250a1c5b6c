"""Lets `python -m semel` be the console."""

from semel.cli.main import run

if __name__ == "__main__":
    run()
