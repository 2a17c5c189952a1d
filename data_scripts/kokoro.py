"""Speech synthesis by Kokoro, a neural network of 82 million parameters (Apache-2.0).

Its voices are vectors of style, and the mean of two is a voice too: 54 make 1485.
"""

from functools import cache
from pathlib import Path

import numpy as np
import soxr

from data_scripts.accents import LANGUAGES, accented
from speechrnn import audio
from speechrnn.errors import InputError

FOLDER = Path("../data/kokoro")
MODEL, VOICES = "kokoro-v1.0.int8.onnx", "voices-v1.0.bin"
RELEASE = "https://github.com/thewh1teagle/kokoro-onnx/releases/tag/model-files-v1.0"
MIN_SPEED, MAX_SPEED = 0.5, 2.0


class Kokoro:
    """The network and its voices, as kokoro-onnx runs them, from the files of its release in `folder`.

    Raises
    ------
    InputError
        if kokoro-onnx or the files are missing
    """

    def __init__(self, folder: Path) -> None:
        missing = [name for name in (MODEL, VOICES) if not (folder / name).is_file()]
        if missing:
            raise InputError(f"{folder}: has no {' and no '.join(missing)}: get them from {RELEASE}")
        try:
            import kokoro_onnx
        except ImportError:
            raise InputError("kokoro-onnx is not installed: pip install kokoro-onnx") from None
        self._kokoro = kokoro_onnx.Kokoro(str(folder / MODEL), str(folder / VOICES))
        self.voices = tuple(self._kokoro.get_voices())

    def speak(self, text: str, voice: str, speed: float) -> np.ndarray:
        """The text as float32 [samples] at 16 kHz, without the silence around it.

        A voice is a name, or two as "af_heart+bm_fable", which stand for the one in the middle; the first of them gives
        the accent, American or British. "af_heart@german" has the accent of a first language besides; see `accents`.
        Speed 1 is the usual one.

        Raises
        ------
        InputError
            if there is no such voice or accent, the speed is beyond its limits, or nothing in the text can be spoken
        """
        speakers, at, language = voice.partition("@")
        names = speakers.split("+")
        if not set(names) <= set(self.voices):
            known = ", ".join(self.voices)
            raise InputError(f"kokoro can't say {text!r} with voice {voice}: take one or two of {known}")
        if at and language not in LANGUAGES:
            raise InputError(
                f"kokoro can't say {text!r} with voice {voice}: after @, take one of {', '.join(LANGUAGES)}"
            )
        if not MIN_SPEED <= speed <= MAX_SPEED:
            raise InputError(
                f"kokoro speaks {MIN_SPEED:g} to {MAX_SPEED:g} times as fast as usual, not {speed:.2g} times"
            )
        style = np.mean([self._kokoro.get_voice_style(name) for name in names], axis=0)
        try:
            phones = self._kokoro.tokenizer.phonemize(text, "en-gb" if names[0].startswith("b") else "en-us")
            phones = accented(phones, language) if language else phones
            sound, rate = self._kokoro.create(phones, style, speed, is_phonemes=True)
        except ValueError as error:
            raise InputError(f"kokoro can't say {text!r}: {error}") from None
        return soxr.resample(sound, rate, audio.SAMPLE_RATE)


@cache
def read(folder: Path) -> Kokoro:
    """The one in `folder`, read once."""
    return Kokoro(folder)
