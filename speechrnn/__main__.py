"""`speechrnn` and `python -m speechrnn`."""

import gc


def main() -> None:
    """Start the command line."""
    # What imports make is kept: looking for garbage in it every 700 objects is a tenth of a cold start.
    gc.set_threshold(100_000)
    from speechrnn.cli import run

    run()


if __name__ == "__main__":
    main()
