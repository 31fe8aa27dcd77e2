#!/usr/bin/env python3
"""Trains the network of examples/banking/banking.toml in PyTorch, and prints its accuracy on the test data for each seed.

    pip install numpy torch
    python tests/bench/text_classifier_pytorch.py DIRECTORY --seeds 1 2 3 [--epochs 30] [--threads 2]

DIRECTORY has train.csv and test.csv with a column of texts and one of labels, as for `kiln train`. The architecture, the first values,
the words, the optimiser and its schedule are those of the model file; the random numbers are PyTorch's own.
"""
import argparse, collections, csv, os, re, statistics, time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

LENGTH, VOCABULARY, WIDTH, HEADS, HIDDEN, DROPOUT = 40, 4000, 128, 4, 256, 0.2
UNKNOWN = 1


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        next(reader)
        return [(re.findall(r"\w+|[^\w\s]+", text.lower()), label) for text, label in reader]


def numbers(samples, words, classes):
    tokens = np.zeros((len(samples), LENGTH), np.int64)
    for row, (text, _) in enumerate(samples):
        known = [words.get(word, UNKNOWN) for word in text[:LENGTH]]
        tokens[row, : len(known)] = known
    return torch.from_numpy(tokens), torch.tensor([classes[label] for _, label in samples])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.output = (glorot(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x, mask):
        split = lambda y: y.unflatten(-1, (HEADS, -1)).transpose(1, 2)
        y = F.scaled_dot_product_attention(split(self.query(x)), split(self.key(x)), split(self.value(x)), attn_mask=mask[:, None, None])
        return self.output(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.first, self.second = Attention(), glorot(WIDTH, HIDDEN), glorot(HIDDEN, WIDTH)
        self.norms, self.dropout = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)]), nn.Dropout(DROPOUT)

    def forward(self, x, mask):
        x = x + self.dropout(self.attention(self.norms[0](x), mask))
        return x + self.dropout(self.second(F.gelu(self.first(self.norms[1](x)))))


class Classifier(nn.Module):
    def __init__(self, size, classes):
        super().__init__()
        self.words, self.places = nn.Embedding(size, WIDTH), nn.Parameter(torch.empty(LENGTH, WIDTH).normal_(0, 0.02))
        nn.init.normal_(self.words.weight, 0, 0.02)
        self.blocks, self.norm = nn.ModuleList([Block(), Block()]), nn.LayerNorm(WIDTH)
        self.dropout, self.scores = nn.Dropout(DROPOUT), glorot(WIDTH, classes)

    def forward(self, tokens):
        mask = tokens != 0
        if self.training:
            tokens = torch.where(mask & (torch.rand(tokens.shape) < 0.1), UNKNOWN, tokens)
        x = self.dropout(self.words(tokens) + self.places)
        for block in self.blocks:
            x = block(x, mask)
        x = (self.norm(x) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return self.scores(self.dropout(x))


def glorot(inputs, outputs):
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def train(seed, epochs, train_data, test_data, size, classes):
    torch.manual_seed(seed)
    (x, y), model = train_data, Classifier(size, classes)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.0015, weight_decay=0.01)
    steps = -(-len(x) // 64) * epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.0015, total_steps=steps, cycle_momentum=False)
    start = time.time()
    for epoch in range(epochs):
        model.train()
        for rows in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows], label_smoothing=0.1).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        right = sum((model(a).argmax(1) == b).sum().item() for a, b in zip(test_data[0].split(500), test_data[1].split(500)))
    print(f"seed {seed}: accuracy {right / len(test_data[1]):.4f} after {epochs} epochs, {time.time() - start:.0f} s", flush=True)
    return right / len(test_data[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    samples = {part: rows(os.path.join(arguments.directory, f"{part}.csv")) for part in ["train", "test"]}
    counts = collections.Counter(word for text, _ in samples["train"] for word in text)
    frequent = [word for word, count in counts.most_common(VOCABULARY - 2) if count >= 2]
    words = {word: number + 2 for number, word in enumerate(frequent)}
    classes = {label: number for number, label in enumerate(sorted({label for _, label in samples["train"]}))}
    data = {part: numbers(rows, words, classes) for part, rows in samples.items()}
    accuracies = [train(seed, arguments.epochs, data["train"], data["test"], len(words) + 2, len(classes)) for seed in arguments.seeds]
    print(f"mean {statistics.mean(accuracies):.4f}, torch {torch.__version__}")
