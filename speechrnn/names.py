"""Names from outside (files, devices, labels of a model), made fit for a line on a terminal, or refused."""

import re

LONGEST = 100  # characters of a label or a model's name

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


def fault(name: str) -> str:
    """What is wrong with a label, a word or the name of a model, as in "'\\x1b': has a control character"; or nothing.

    They end in file names, in label tracks and subtitles, in arguments of programs and on terminals.
    """
    shown = repr(name if len(name) <= 40 else f"{name[:40]}...")
    if not name or name != name.strip():
        return f"{shown}: is empty, or begins or ends with a space"
    if len(name) > LONGEST:
        return f"{shown}: is longer than {LONGEST} characters"
    if _UNPRINTABLE.search(name):
        return f"{shown}: has a control character"
    if name.startswith("-") or "-->" in name:  # an option of a program; the times of a subtitle
        return f"{shown}: begins with a dash, or has an arrow in it"
    return ""
