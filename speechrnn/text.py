"""Text from outside (names of files, devices, labels), made fit for a line on a terminal, or refused."""

import re

LONGEST_NAME = 255  # characters of a model's name
LONGEST_LABEL = 100

# What moves the cursor, colours, ends a line, or turns the writing direction round: C0, DEL and C1, the separators of
# lines and paragraphs, the controls of bidirectional text. And halves of surrogate pairs, which no encoding holds;
# Python has them in file names that aren't UTF-8. Joiners and spaces of all kinds stand in honest names.
_CONTROLS = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff"
_CONTROL = re.compile(f"[{_CONTROLS}]")
_UNPRINTABLE = re.compile(f"[{_CONTROLS}\ud800-\udfff]")


def printable(text: str, *, surrogates: bool = False) -> str:
    r"""The text in one line that does nothing to a terminal: `\n`, `\x1b`, `\u202e` for what would.

    With `surrogates`, those stay: they are written out as the bytes of a file name that isn't UTF-8, as it came.
    """
    return (_CONTROL if surrogates else _UNPRINTABLE).sub(lambda found: repr(found[0])[1:-1], text)


def has_control(text: str) -> bool:
    """Whether `printable` would change the text."""
    return _UNPRINTABLE.search(text) is not None


def name_fault(name: str, longest: int = LONGEST_NAME) -> str:
    r"""What is wrong with the name of a model, as in `'\x1b': has a control character`; empty if nothing is."""
    shown = repr(name if len(name) <= 40 else f"{name[:40]}...")
    if not name or name != name.strip():
        return f"{shown}: is empty, or begins or ends with a space"
    if len(name) > longest:
        return f"{shown}: is longer than {longest} characters"
    if has_control(name):
        return f"{shown}: has a control character"
    return ""


def label_fault(label: str) -> str:
    """The same for a label, which also ends in tracks, in subtitles and in the arguments of programs."""
    if label.startswith("-") or "-->" in label:
        return f"{label[:40]!r}: begins with a dash, or has the arrow of a subtitle in it"
    return name_fault(label, LONGEST_LABEL)
