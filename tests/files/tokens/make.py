"""Makes texts.json: strings with odd characters, and what the library `tokenizers` makes of them.

    python -m venv tokens && tokens/bin/pip install tokenizers==0.23.3 && tokens/bin/python make.py [COUNT]

It has, for each way of cutting, the vocabulary or the tokenizer.json, and for each string the numbers of its tokens and the bytes they
stand for, cut and filled to LENGTH. COUNT is the number of strings, 150 if left out.
"""

import json
import os
import random
import sys

import tokenizers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LENGTH = 12
ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", " " * 8, "'-_.,;:!?()[]{}@#$%&*+=/\\\"<>|~^`", "äöüßéèêçñåøæœšžıİſ",
    "\t\n\r\u00a0\u2003\u3000\u200b\u200d\ufeff", "абвгджЖЯё", "αβγδσςΣΩ", "אבגדש", "ابتثجلا", "कखगिीुा्", "กขคงจฉ่้", "中文字漢日本語かなカナ", "한글",
    "e\u0301\u0308\u0327a\u030a", "😀👩\u200d👧🏽🇫🇷✈\ufe0f", "½²³①Ⅷ٣४", "ﬁﬀŉǅ", "\u0000\u0001\u007f\u0085\ufffd", "𝒜𝔅𐍈𠀀",
]
WORDS = "my card has not arrived the bank Card CARD please don't e-mail naïve Zürich 3.14 10,000 x_y über".split()


def draw(random_numbers):
    parts = []
    for _ in range(random_numbers.randint(0, 14)):
        if random_numbers.random() < 0.5:
            parts.append(random_numbers.choice(WORDS) + " ")
        else:
            alphabet = random_numbers.choice(ALPHABETS)
            parts.append("".join(random_numbers.choice(alphabet) for _ in range(random_numbers.randint(1, 5))))
    return "".join(parts)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 150
    random_numbers = random.Random(1)
    texts = ["", " ", "\n", "a"] + [draw(random_numbers) for _ in range(count - 4)]
    corpus = [draw(random_numbers) for _ in range(400)]
    made = {"version": tokenizers.__version__, "length": LENGTH, "texts": texts, "corpus": corpus, "ways": {}}

    def add(name, tokenizer, extra, padding=0):
        tokenizer.enable_truncation(LENGTH)
        tokenizer.enable_padding(pad_id=padding, length=LENGTH)
        rows = []
        for text in texts:
            encoded = tokenizer.encode(text)
            starts = [0]
            for ch in text:
                starts.append(starts[-1] + len(ch.encode("utf-8", "surrogatepass")))
            places = [[starts[a], starts[b]] for a, b in encoded.offsets]
            rows.append([encoded.ids, places, sum(encoded.attention_mask)])
        made["ways"][name] = {**extra, "rows": rows}

    for lower in [False, True]:
        tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        if lower:
            tokenizer.normalizer = normalizers.Lowercase()
        trainer = trainers.WordLevelTrainer(vocab_size=400, min_frequency=2, special_tokens=["[PAD]", "[UNK]"], show_progress=False)
        tokenizer.train_from_iterator(corpus, trainer)
        words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
        add("word" + ("_lower" if lower else ""), tokenizer, {"vocabulary": words[2:]})
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    trainer = trainers.WordLevelTrainer(vocab_size=120, min_frequency=2, special_tokens=["[PAD]", "[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    characters = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    add("char", tokenizer, {"vocabulary": characters[2:]})

    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer, pieces.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    pieces.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False))
    pieces.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    pieces.decoder = decoders.WordPiece()
    add("wordpiece", pieces, {"tokenizer": pieces.to_str()})
    pairs = Tokenizer(models.BPE())
    pairs.pre_tokenizer, pairs.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<pad>"], initial_alphabet=alphabet, show_progress=False)
    pairs.train_from_iterator(corpus, trainer)
    add("bpe", pairs, {"tokenizer": pairs.to_str()})
    unigram = Tokenizer(models.Unigram())
    unigram.normalizer, unigram.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=["<pad>", "<unk>"], unk_token="<unk>", show_progress=False)
    unigram.train_from_iterator(corpus, trainer)
    add("unigram", unigram, {"tokenizer": unigram.to_str()})

    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "texts.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(made, file, ensure_ascii=True, separators=(",", ":"))
        file.write("\n")


main()
