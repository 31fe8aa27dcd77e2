"""Makes sound.wav, sound.flac, sound.mp3, sound.ogg, and decoded.npz: what libsndfile reads from the last two.

    python -m venv sound && sound/bin/pip install soundfile==0.14.0 numpy==2.4.6 && sound/bin/python make_files.py

A chirp on the left and a softer one on the right, 0.3 s at 22,050 samples a second, 16 bits. mp3, ogg: [samples, 2], f32.
"""

import os

import numpy as np
import soundfile

here = os.path.dirname(os.path.abspath(__file__))
RATE = 22050
n = np.arange(6615)
left = 0.5 * np.sin(2 * np.pi * np.cumsum(200 + 0.3 * n) / RATE)
right = 0.2 * np.sin(2 * np.pi * np.cumsum(1500 - 0.1 * n) / RATE)
sound = np.round(np.stack([left, right], 1) * 32767).astype(np.int16)
place = lambda name: os.path.join(here, name)
for name in ["sound.wav", "sound.flac", "sound.ogg"]:
    soundfile.write(place(name), sound, RATE)
# From integers, this version of libsndfile makes noise of an MP3.
soundfile.write(place("sound.mp3"), (sound / 32768).astype(np.float32), RATE, bitrate_mode="CONSTANT", compression_level=0.5)
read = {name: soundfile.read(place("sound." + name), dtype="float32")[0] for name in ["mp3", "ogg"]}
print({name: (values.shape, np.abs(values - sound / 32768).max()) for name, values in read.items()})
np.savez_compressed(place("decoded.npz"), **read)
