"""Makes sounds to try keywords.toml on, without a download: three artificial "words" under the names of the
first digits, tones that rise, fall, or go up and down.

    python3 make_sounds.py DIRECTORY

Writes DIRECTORY/train/list.csv and DIRECTORY/test/list.csv (`file,label`) with WAV files beside them, by four "speakers" of other pitch
and pace to train on and two to test, as speech-like as five harmonics with noise are. Needs Python alone; the same bytes each time.
"""

import math
import os
import random
import struct
import sys
import wave

RATE = 8000
WORDS = {"one": lambda t: 0.7 + 1.6 * t, "two": lambda t: 2.3 - 1.6 * t, "three": lambda t: 0.7 + 1.6 * math.sin(math.pi * t)}


def sound(word, pitch, pace):
    count = int(RATE * pace * random.uniform(0.8, 1.2))
    harmonics = [random.uniform(0.3, 1) / n for n in range(1, 6)]
    phase, samples = 0, []
    for i in range(count):
        t = i / count
        phase += 2 * math.pi * pitch * WORDS[word](t) / RATE
        tone = sum(a * math.sin(n * phase) for n, a in enumerate(harmonics, 1))
        samples.append(0.15 * tone * math.sin(math.pi * t) ** 0.5 + random.gauss(0, 0.01))
    return samples


def write(path, samples):
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(b"".join(struct.pack("<h", max(-32768, min(32767, round(32767 * s)))) for s in samples))


def main(directory):
    random.seed(1)
    speakers = {"train": [(150, 0.5), (230, 0.4), (190, 0.6), (270, 0.45)], "test": [(170, 0.55), (250, 0.4)]}
    for part, voices in speakers.items():
        os.makedirs(os.path.join(directory, part), exist_ok=True)
        with open(os.path.join(directory, part, "list.csv"), "w") as listing:
            listing.write("file,label\n")
            for number, (pitch, pace) in enumerate(voices):
                for word in WORDS:
                    for take in range(20):
                        name = f"{word}-{number}-{take}.wav"
                        write(os.path.join(directory, part, name), sound(word, pitch, pace))
                        listing.write(f"{name},{word}\n")


main(sys.argv[1])
