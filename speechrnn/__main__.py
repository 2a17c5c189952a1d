"""`speechrnn` and `python -m speechrnn`."""

import atexit
import gc

from speechrnn import interrupts


def main() -> None:
    """Start the command line."""
    interrupts.die()
    # What imports make is kept to the end: looking for garbage in it every 700 objects, and once more at exit, is a
    # sixth of a cold start.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    from speechrnn.cli import run

    run()


if __name__ == "__main__":
    main()
