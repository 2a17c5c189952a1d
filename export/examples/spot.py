"""The words in a recording, with onnxruntime and numpy alone: python spot.py MODEL.onnx RECORDING.wav

The recording is 16 bit, mono, at 16 kHz. All settings come from the card in the model file.
"""

import json
import os
import sys
import wave

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: from 1.29 on it reports to its maker otherwise
import onnxruntime

if len(sys.argv) != 3:
    sys.exit(__doc__)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1  # more would only wait for each other
session = onnxruntime.InferenceSession(sys.argv[1], options)
card = json.loads(session.get_modelmeta().custom_metadata_map["speechrnn"])
block, rate, words = card["block_length"], card["sample_rate"], card["words"]
control = any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in "".join(card["labels"]))
seconds = card["tail_seconds"], card["smoothing_seconds"]
if control or not 32 <= block <= 2**14 or not all(0 <= length <= 10 for length in seconds):
    sys.exit(f"{sys.argv[1]}: has a model card that speechrnn refuses: take another model")
try:
    with wave.open(sys.argv[2]) as file:
        if (file.getframerate(), file.getsampwidth(), file.getnchannels()) != (rate, 2, 1):
            raise wave.Error(f"is not 16 bit, mono, at {rate} Hz")
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
except (OSError, EOFError, wave.Error) as error:
    sys.exit(f"{sys.argv[2]}: {error}: name a WAV file of 16 bit, mono, at {rate} Hz")
tail, smoothing, refractory = (
    round(card[f"{name}_seconds"] * rate / block) for name in ("tail", "smoothing", "refractory")
)
silence = np.zeros(-len(sound) % block + tail * block, np.float32)  # so that the last word is detected
blocks = np.concatenate([sound, silence]).reshape(-1, 1, block)
columns = [card["labels"].index(word) for word in words]
threshold = np.array([card["thresholds"][word] for word in words])
recent = np.zeros((max(1, smoothing), len(card["labels"])))
state = np.zeros((1, card["state_size"]), np.float32)  # zeros: a fresh start
armed, ready_at = np.ones(len(words), bool), 0
for i, samples in enumerate(blocks):
    probabilities, state = session.run(["probabilities", "next_state"], {"audio": samples, "state": state})
    recent = np.concatenate([recent[1:], probabilities[0]])
    posterior = recent.mean(axis=0)[columns]
    reached = armed & (posterior >= threshold)
    if i >= ready_at and reached.any():
        best = np.where(reached, posterior, -1.0).argmax()
        # at once: the posterior that has reached the threshold; while the word goes on, it rises further
        print(f"{(i + 1) * block / rate:9.2f} s  {words[best]:<8} {posterior[best]:.3f}")
        armed[best], ready_at = False, i + refractory
    armed |= posterior < card["hysteresis"] * threshold  # a word can be detected again once it has faded
