"""Makes short tales to learn writing from: train.txt and test.txt.

    python3 examples/writing/make.py

Tales are put together from patterns by chance, which is always the same. Python 3.9 or newer.
"""

import random
from pathlib import Path

WHO = ["a fox", "an old miller", "a young queen", "the tailor", "a grey goose", "two brothers", "a giant", "the smith's daughter", "a cat", "a wolf"]
WHERE = ["in a deep wood", "by the sea", "behind seven hills", "in a small town", "under a mountain", "near a mill", "on an island"]
WANTED = ["a golden ring", "a warm coat", "nothing but bread", "a horse", "the moon", "a silver key", "some peace"]
DEED = ["walked for three days", "asked the wind", "crossed a river", "sold a cow", "climbed a tower", "slept under a tree", "lit a fire"]
SPEECH = ["Who are you?", "What do you seek?", "Come in, said nobody.", "Give me your hat!", "The night is long.", "I know the way."]
END = ["and there it was.", "but it was too late.", "and all were glad.", "and nobody saw it again.", "and that is why the river sings."]


def tale(draw):
    who, wanted = draw.choice(WHO), draw.choice(WANTED)
    lines = [f"Once {draw.choice(WHERE)} there lived {who} that wanted {wanted}."]
    for _ in range(draw.randint(1, 3)):
        lines.append(f"So {who.replace('a ', 'the ', 1).replace('an ', 'the ', 1)} {draw.choice(DEED)} and {draw.choice(DEED)}.")
        if draw.random() < 0.5:
            lines.append(f'"{draw.choice(SPEECH)}"')
    lines.append(f"In the end came {draw.choice(WHO)} with {wanted}, {draw.choice(END)}")
    return "\n".join(lines) + "\n\n"


def main():
    draw = random.Random(1)
    for name, count in [("train", 300), ("test", 30)]:
        (Path(__file__).parent / f"{name}.txt").write_text("".join(tale(draw) for _ in range(count)), encoding="utf-8")


main()
