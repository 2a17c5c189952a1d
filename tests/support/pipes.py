"""Sound as bytes in a pipe."""

import io

import soundfile

RATE = 16_000


PLAIN = {  # of WAV: subtype as libsndfile calls it
    "u8": "PCM_U8", "s16le": "PCM_16", "s24le": "PCM_24", "s32le": "PCM_32", "f32le": "FLOAT", "f64le": "DOUBLE",
    "alaw": "ALAW", "mulaw": "ULAW",
}  # fmt: skip


def encoded(samples, rate=RATE, format="WAV", subtype="PCM_16"):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def raw(samples, rate, subtype):
    """Without a header."""
    return encoded(samples, rate, "RAW", subtype)
