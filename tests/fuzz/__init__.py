"""Fuzzers: damaged and hostile input at each door of the package, made by hypothesis from a seed.

    python -m tests.fuzz                                   # the 20,000 cases of CI
    python -m tests.fuzz --cases 100000                    # more
    python -m tests.fuzz --kind sound --seed 7 --cases 2000

The kinds: sound (files of every container that libsndfile writes), cards, graphs (of ONNX models), labels (label
tracks), configs (TOML and --set), checkpoints, streams (bytes on stdin of `listen -`), archives (tar.gz).

The contract of each case: it works (sound and posteriors are finite float32 of the right shape, a card's settings are
in their ranges), or it is refused by an error of `speechrnn.errors` with a message of one printable line of at most 600
characters. No other exception and no warning of numpy, no crash, no 10 s, no 1 GB.

Cases run in processes of their own: memory is limited there, an alarm ends a case that hangs, and what kills the
process is still told by its seed. The input of a finding is saved, with a `.txt` beside it that has the seed, the
options and the traceback; of findings of one sort, the smallest. The same seed gives the same cases: 250 have the seed
that is asked for, the next 250 the next one, so `--kind KIND --seed N --cases 250` repeats those of a finding.

A kind is a module with `prepare(folder)`, `cases()` (a hypothesis strategy of `Case`) and `run(case, path)`, where
`path` is a file that holds the case's content; it is listed in `campaign.SHARES`. The fixed cases that came of
findings stand in the other tests, by subject. (Ogg files get a random serial number from libsndfile, and some headers
the date: there, the saved input is what can be relied on.)
"""
