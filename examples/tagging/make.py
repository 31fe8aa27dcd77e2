"""Makes short messages whose names of persons, places and products are labelled: train.conll and test.conll.

    python3 examples/tagging/make.py

Messages are put together from patterns by chance, which is always the same. A third of the names of the test is not in what is learnt
from, so that what stands around a name has to tell. Python 3.9 or newer.
"""

import random
from pathlib import Path

NAMES = {
    "person": ["Ada", "Ben Okri", "Carla", "Dmitri", "Élodie Martin", "Farid", "Grace Kim", "Hugo", "Ines", "Jun Sato", "Kofi", "Lena Berg",
               "Mira", "Noor", "Otto Falk"],
    "location": ["Rome", "New York", "Lagos", "Île de Ré", "Kyoto", "Cape Town", "Oslo", "Lima", "San Marino", "Perth", "Bath", "Zürich"],
    "product": ["Lumo 3", "the Pixie", "Orbit Max", "Kettle One", "Nimbus", "Tango S", "Vela", "Quark 9", "Strato"],
}
PATTERNS = [
    "{person} lives in {location} now", "just met {person} in {location} !!", "my {product} broke , {person} please call",
    "selling a {product} , pick it up in {location}", "why does {product} not work in {location} ?", "{person} and {person} are in {location}",
    "happy birthday {person} :)", "the new {product} is better than {product}", "flying to {location} with {person} tomorrow",
    "nothing to see here", "is it raining again today ?", "ask {person} about the {product}", "good morning {location} !",
    "does anybody in {location} repair a {product} ?", "{person} says hello", "so tired , good night",
]


def message(draw, held_back):
    lines = []
    for word in draw.choice(PATTERNS).split(" "):
        if word.startswith("{"):
            kind = word[1:-1]
            names = NAMES[kind]
            known = names[: len(names) * 2 // 3]
            name = draw.choice(names[len(known):] if held_back and draw.random() < 0.5 else known)
            for at, part in enumerate(name.split(" ")):
                lines.append((part, ("B-" if at == 0 else "I-") + kind))
        else:
            lines.append((word, "O"))
    if draw.random() < 0.3:
        lines = [(word.lower(), label) for word, label in lines]
    return lines


def main():
    draw = random.Random(1)
    for name, count in [("train", 500), ("test", 120)]:
        with open(Path(__file__).parent / f"{name}.conll", "w", encoding="utf-8") as file:
            for _ in range(count):
                for word, label in message(draw, name == "test"):
                    file.write(f"{word}\t{label}\n")
                file.write("\n")


main()
