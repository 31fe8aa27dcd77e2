"""Makes questions that customers of a bank might ask, each with what it is about: train.csv and test.csv.

    python3 examples/banking/make.py

Sentences are put together from patterns by chance, which is always the same. No sentence of the test is one to learn from. Python 3.9 or newer.
"""

import csv
import random
from pathlib import Path

OPENINGS = ["", "", "", "hi, ", "hello, ", "please help: ", "excuse me, ", "good morning, "]
ENDINGS = ["?", "?", "", " please", ", thanks", "!!", "?!"]
WORDS = {
    "card": ["card", "debit card", "bank card", "new card", "plastic"],
    "time": ["yesterday", "last week", "on Monday", "two days ago", "this morning", "a fortnight ago"],
    "shop": ["the supermarket", "a petrol station", "the café", "an online shop", "a hotel"],
    "sum": ["20 euros", "£15", "a hundred pounds", "35.50", "fifty dollars"],
    "place": ["Spain", "Canada", "Zürich", "abroad", "another country"],
    "machine": ["cash machine", "ATM", "cashpoint"],
}
PATTERNS = {
    "card_arrival": [
        "my {card} has not arrived", "where is my {card}", "I ordered a {card} {time} and it is not here",
        "when will the {card} come", "still waiting for my {card}", "can I track the {card} that you sent {time}",
    ],
    "lost_card": [
        "I lost my {card} {time}", "my {card} was stolen in {place}", "someone took my {card}, block it",
        "I cannot find my {card} anywhere", "please freeze my {card}, it is gone", "what do I do about a missing {card}",
    ],
    "change_pin": [
        "how do I change my PIN", "I want another PIN for my {card}", "can I set a new PIN at a {machine}",
        "where do I change the PIN of my {card}", "my PIN is too easy, let me choose another", "is it possible to pick my PIN in {place}",
    ],
    "exchange_rate": [
        "what is your exchange rate", "the rate that I got in {place} is wrong", "which rate do you use for {sum}",
        "how do you convert money when I am in {place}", "why was the exchange rate so bad {time}", "do you take a fee to change currency",
    ],
    "refund": [
        "I want my {sum} back from {shop}", "how do I get a refund", "{shop} promised a refund {time}",
        "the refund of {sum} does not show", "I returned what I bought at {shop}, where is the money", "please reverse my payment to {shop}",
    ],
    "charged_twice": [
        "I was charged twice by {shop}", "{shop} took {sum} two times", "there is a duplicate payment of {sum}",
        "the same payment shows twice since {time}", "why do I see {sum} double on my statement", "{shop} booked my {card} once too often",
    ],
    "cash_withdrawal": [
        "the {machine} gave me the wrong amount", "the {machine} kept my {card}", "I got only part of {sum} from a {machine}",
        "how much cash may I take out in {place}", "what does it cost to use a {machine} in {place}", "no money came out of the {machine} {time}",
    ],
    "close_account": [
        "I want to close my account", "please delete my account", "how do I leave your bank",
        "cancel my account, I moved to {place}", "what happens to {sum} when I close the account", "end my contract with you",
    ],
}


def sentence(draw, pattern):
    for word, choices in WORDS.items():
        pattern = pattern.replace("{" + word + "}", draw.choice(choices))
    text = draw.choice(OPENINGS) + pattern + draw.choice(ENDINGS)
    return text[0].upper() + text[1:] if draw.random() < 0.5 else text


def main():
    draw = random.Random(1)
    rows, seen = [], set()
    for label, patterns in PATTERNS.items():
        count = 0
        while count < 75:
            text = sentence(draw, draw.choice(patterns))
            if text.lower() not in seen:
                seen.add(text.lower())
                rows.append((text, label))
                count += 1
    draw.shuffle(rows)
    for name, part in [("train", rows[:480]), ("test", rows[480:])]:
        with open(Path(__file__).parent / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["text", "label"])
            writer.writerows(part)


main()
