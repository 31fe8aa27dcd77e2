"""Makes sentences to try speech.toml on, without a download: one to five "words" of an artificial speaker, joined with silence.

    python3 make_sounds.py DIRECTORY

Writes DIRECTORY/train/list.csv and DIRECTORY/test/list.csv (`file,text`) with WAV files beside them. Each digit is a glide between two
pairs of formants, which the harmonics of a voice are weighted by; pitch, pace and loudness vary. Needs Python alone; the same bytes each
time.
"""

import math
import os
import random
import struct
import sys
import wave

RATE = 8000
WORDS = "zero one two three four five six seven eight nine".split()
FORMANTS = [(300, 2200), (700, 1100), (350, 900), (500, 1800), (250, 1500)]


def word(number, pitch, pace):
    count = int(RATE * 0.35 * pace * random.uniform(0.85, 1.15))
    begin, end = FORMANTS[number % 5], FORMANTS[(number * 3 + 1 + number // 5) % 5]
    phase, samples = 0, []
    for i in range(count):
        t = i / count
        if i % 80 == 0:
            formants = [a + (b - a) * t for a, b in zip(begin, end)]
            harmonics = [(n, sum(math.exp(-(((n * pitch - f) / 150) ** 2)) for f in formants)) for n in range(1, 20)]
            heard = [(n, weight) for n, weight in harmonics if weight > 0.02]
        phase += 2 * math.pi * pitch * (1.1 - 0.2 * t) / RATE
        tone = sum(weight * math.sin(n * phase) for n, weight in heard)
        samples.append(0.12 * tone * math.sin(math.pi * t) ** 0.5)
    return samples


def main(directory):
    random.seed(1)
    for part, count in {"train": 400, "test": 50}.items():
        os.makedirs(os.path.join(directory, part), exist_ok=True)
        with open(os.path.join(directory, part, "list.csv"), "w") as listing:
            listing.write("file,text\n")
            for take in range(count):
                pitch, pace, samples, text = random.uniform(110, 230), random.uniform(0.8, 1.2), [], []
                for _ in range(random.randint(1, 5)):
                    samples += [0] * random.randint(RATE // 20, RATE // 4)
                    number = random.randrange(10)
                    samples += word(number, pitch, pace)
                    text.append(WORDS[number])
                with wave.open(os.path.join(directory, part, f"{take}.wav"), "wb") as file:
                    file.setnchannels(1)
                    file.setsampwidth(2)
                    file.setframerate(RATE)
                    noisy = (s + random.gauss(0, 0.003) for s in samples)
                    file.writeframes(b"".join(struct.pack("<h", max(-32768, min(32767, round(32767 * s)))) for s in noisy))
                listing.write(f"{take}.wav,{' '.join(text)}\n")


main(sys.argv[1])
