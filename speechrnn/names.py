"""Names of files and folders that are made of words, which anybody may have written."""

from speechrnn.errors import InputError
from speechrnn.text import printable

LONGEST_BYTES = 200  # of the 255 that file systems take: the others are for what stands around the word
# What Windows opens as a device, whatever stands behind a dot.
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789¹²³")}


def file_name(word: str, what: str) -> str:
    """The word, if a file of every system can be called that, in the folder where it is put and nowhere else.

    Parameters
    ----------
    word : str
    what : str
        names the word in the message, as "WORD"

    Raises
    ------
    InputError
        if it is empty or too long, has a separator or another character that some systems don't take, would be hidden,
        or is the name of a device
    """
    shown = printable(word if len(word) <= 60 else f"{word[:60]}...")
    try:
        length = len(word.encode())
    except UnicodeEncodeError:
        raise InputError(f"{what} {shown}: is no text, so nothing can be called that") from None
    if not word.strip():
        raise InputError(f"{what} {word!r}: is empty, so nothing can be called that")
    if length > LONGEST_BYTES:
        raise InputError(
            f"{what} {shown}: has {length} bytes, too many for the name of a file: {LONGEST_BYTES} at most"
        )
    bad = next((character for character in word if character in '/\\:*?"<>|' or not character.isprintable()), None)
    if bad is not None:
        raise InputError(f"{what} {shown}: no file can be called that on every system, because of {bad!r}")
    if word[0] in ". " or word[-1] in ". ":
        raise InputError(f"{what} {shown}: no file can be called that: it begins or ends with a dot or a space")
    if word.partition(".")[0].rstrip().upper() in RESERVED:
        raise InputError(f"{what} {shown}: is the name of a device on Windows: choose another word")
    return word
