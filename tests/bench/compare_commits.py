#!/usr/bin/env python3
"""Whether code got slower, told by instructions: two compilers compared kernel by kernel, and a table that may not grow unnoticed.

    python tests/bench/compare_commits.py compare OLD NEW [MODEL …] [--size batch=2] [--function train-step] [--diff] [--all]
    python tests/bench/compare_commits.py check  --kiln target/debug/kiln
    python tests/bench/compare_commits.py record --kiln target/debug/kiln

OLD and NEW are `kiln` programs or revisions of git, which are built in worktrees of their own. Without models the example networks are
compared. A row is a kernel whose machine code or count changed; --diff shows the code of those. Counts are of one run on one thread
(instruction_counts.py says how), so they are exact, but say nothing of caches: time what they point at.

`check` fails where a network of instructions.tsv takes over 2 % more than the table says, and names the kernels that grew. `record`
writes the table anew; a count that grows by more than 2 % needs a line under "Unreleased" in CHANGELOG.md with the network's name and
the word instructions.
"""
import argparse
import difflib
import os
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

from instruction_counts import HERE, Program, answer

ROOT = os.path.dirname(os.path.dirname(HERE))
TABLE = os.path.join(HERE, "instructions.tsv")
# What a count may grow by before somebody has to say why.
GROWTH = 1.02
LARGEST = 10
# The name of a row that is a whole run.
WHOLE = "(one run)"

# Each network of the table: its file under examples/, the function, and sizes that end loops of vectors and tiles unevenly.
NETWORKS = {
    "digits": ("digits/digits.onnx", "predict", {"batch": 3}),
    "fashion/mlp": ("fashion/mlp.toml", "predict", {"batch": 7}),
    "fashion/cnn": ("fashion/cnn.toml", "predict", {"batch": 3}),
    "fashion/cnn step": ("fashion/cnn.toml", "train-step", {"batch": 5}),
    "fashion/deep": ("fashion/deep.toml", "predict", {"batch": 2}),
    "fashion/gru": ("fashion/gru.toml", "predict", {"batch": 3}),
    "keywords": ("keywords/keywords.toml", "predict", {"batch": 1}),
    "speech": ("speech/speech.toml", "predict", {"batch": 1, "samples": 8000}),
    "tagging/lstm": ("tagging/lstm.toml", "predict", {"batch": 2, "time": 19}),
    "tagging/transformer": ("tagging/transformer.toml", "predict", {"batch": 2, "time": 19}),
    "tagging/transformer step": ("tagging/transformer.toml", "train-step", {"batch": 2, "time": 19}),
    "networks/text_transformer": ("networks/text_transformer.toml", "predict", {"batch": 1, "time": 37}),
    "writing": ("writing/writer.toml", "predict", {"batch": 1, "time": 50}),
    "writing token": ("writing/writer.toml", "write", {"batch": 1, "new": 1, "room": 50}),
}


def measured(kiln, path, function, sizes, cpu="x86-64-v3", options=()):
    """(code, instructions of a run, of its kernels) of a model; no counts for CPUs that valgrind does not know."""
    with tempfile.TemporaryDirectory() as scratch:
        program = Program(kiln, path, scratch, [*options, "--function", function], cpu)
        whole, kernels = (None, {}) if cpu in ("x86-64-v4", "native") else program.counts(sizes)
        return program.code(), whole, kernels


def of_networks(kiln):
    """Name → (instructions of a run, of its kernels) of every network of the table, two at a time."""

    def count(name):
        path, function, sizes = NETWORKS[name]
        return measured(kiln, os.path.join(ROOT, "examples", path), function, sizes)[1:]

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(NETWORKS, pool.map(count, NETWORKS)))


def read_table():
    """(network, kernel) → instructions, as they are written down."""
    if not os.path.exists(TABLE):
        return {}
    with open(TABLE, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    return {(network, kernel): int(count) for network, kernel, count in rows}


def percent(new, old):
    return f"{100 * (new / old - 1):+.1f} %" if old else "new"


def grown(table, found):
    """Networks that take more instructions than they may, each with a text that names its kernels."""
    texts = {}
    for name, (whole, kernels) in found.items():
        before = table.get((name, WHOLE))
        if before is not None and whole > before * GROWTH:
            texts[name] = f"{name}: {before} → {whole} instructions, {percent(whole, before)}"
            for kernel, count in kernels.items():
                known = table.get((name, kernel))
                if known is not None and count > known:
                    texts[name] += f"\n    {kernel}: {known} → {count}, {percent(count, known)}"
                elif known is None and count > whole * (GROWTH - 1):
                    texts[name] += f"\n    {kernel}: {count}, not in the table"
    return texts


def check(args):
    table, found = read_table(), of_networks(args.kiln)
    known = {network for network, _ in table}
    if known != set(NETWORKS):
        sys.exit(f"{TABLE} does not have the networks of this script: write it anew with `record`")
    texts = grown(table, found)
    for name, (whole, _) in found.items():
        print(f"{name}\t{whole}\t{percent(whole, table[name, WHOLE])}")
    if texts:
        worse = "\n".join(texts.values())
        sys.exit(f"more instructions than {os.path.relpath(TABLE, ROOT)} allows; if they are worth it, run `record`:\n{worse}")


def unreleased_lines():
    with open(os.path.join(ROOT, "CHANGELOG.md"), encoding="utf-8") as file:
        text = file.read()
    return text.split("## Unreleased", 1)[-1].split("\n## ", 1)[0].splitlines()


def record(args):
    found = of_networks(args.kiln)
    texts, lines = grown(read_table(), found), unreleased_lines()
    unexplained = [text for name, text in texts.items() if not any(name in line and "instructions" in line for line in lines)]
    if unexplained:
        sys.exit("CHANGELOG.md has no line under Unreleased with the network's name and the word instructions for\n" + "\n".join(unexplained))
    rows = ["network\tkernel\tinstructions"]
    for name, (whole, kernels) in found.items():
        largest = sorted(kernels.items(), key=lambda pair: (-pair[1], pair[0]))[:LARGEST]
        rows += [f"{name}\t{kernel}\t{count}" for kernel, count in [(WHOLE, whole), *largest]]
    with open(TABLE, "w", encoding="utf-8") as file:
        file.write("\n".join(rows) + "\n")
    print(f"{len(found)} networks, {sum(whole for whole, _ in found.values())} instructions")


def program_of(name, scratch, target):
    """The path of a `kiln` program, or that of the one which a revision builds into."""
    if os.path.isfile(name):
        return os.path.abspath(name)
    revision = answer(["git", "-C", ROOT, "rev-parse", "--verify", f"{name}^{{commit}}"]).strip()
    kept = os.path.join(target, f"kiln-{revision}")
    if not os.path.exists(kept):
        tree = os.path.join(scratch, revision)
        answer(["git", "-C", ROOT, "worktree", "add", "--detach", tree, revision])
        try:
            subprocess.run(["cargo", "build", "-p", "kiln", "--target-dir", target], cwd=tree, check=True)
            os.replace(os.path.join(target, "debug", "kiln"), kept)
        finally:
            answer(["git", "-C", ROOT, "worktree", "remove", "--force", tree])
    return kept


def renamed(old, new):
    """Kernels of `new` under the names that they have in `old`, where only the name of their code changed."""
    names = {}
    for name in old.keys() - new.keys():
        names.setdefault(tuple(old[name]), []).append(name)
    found = {}
    for name in sorted(new.keys() - old.keys()):
        same = sorted(names.get(tuple(new[name]), []))
        if same:
            found[name] = same[0]
            names[tuple(new[name])].remove(same[0])
    return found


def compare_model(args, kilns, title, path, function, sizes):
    (old_code, old_whole, old), (new_code, new_whole, new) = (
        measured(kiln, path, function, sizes, args.cpu, args.options) for kiln in kilns
    )
    names = renamed(old_code, new_code)
    new_code, new = ({names.get(name, name): value for name, value in table.items()} for table in (new_code, new))
    cell = lambda count: "" if count is None else str(count)
    if old_whole is not None:
        print(f"| {title} | {WHOLE} | | {old_whole} | {new_whole} | {percent(new_whole, old_whole)} |")
    for name in sorted(old_code.keys() | new_code.keys(), key=lambda name: (-max(old.get(name, 0), new.get(name, 0)), name)):
        a, b = old_code.get(name), new_code.get(name)
        state = "only new" if a is None else "only old" if b is None else "same" if a == b else f"{len(a)} → {len(b)}"
        before, after = old.get(name), new.get(name)
        if state != "same" or before != after or args.all:
            change = percent(after, before) if before and after else ""
            print(f"| {title} | {name} | {state} | {cell(before)} | {cell(after)} | {change} |", flush=True)
        if args.diff and a is not None and b is not None and a != b:
            print("\n".join(difflib.unified_diff(a, b, f"{name} old", f"{name} new", lineterm="")))


def compare(args):
    sizes = {name: int(value) for name, value in (size.split("=", 1) for size in args.size)}
    asked = [(os.path.basename(path), path, args.function, sizes) for path in args.models]
    examples = [(name, os.path.join(ROOT, "examples", path), function, at) for name, (path, function, at) in NETWORKS.items()]
    with tempfile.TemporaryDirectory() as scratch:
        kilns = [program_of(name, scratch, os.path.abspath(args.target_dir)) for name in (args.old, args.new)]
        print("| network | kernel | instructions of code | old | new | |\n|---|---|---|---|---|---|")
        for model in asked or examples:
            compare_model(args, kilns, *model)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    two = commands.add_parser("compare", help="two compilers, kernel by kernel")
    two.add_argument("old", metavar="OLD", help="a kiln program, or a revision")
    two.add_argument("new", metavar="NEW")
    two.add_argument("models", nargs="*", metavar="MODEL")
    two.add_argument("--size", action="append", default=[], metavar="NAME=SIZE", help="value of an open size (else 1)")
    two.add_argument("--function", default="predict")
    two.add_argument("--cpu", default="x86-64-v3", help="level to compile for; x86-64-v4 and native: code alone, as valgrind lacks AVX-512")
    two.add_argument("--options", type=shlex.split, default=[], help="more for `kiln compile`, as one word")
    two.add_argument("--diff", action="store_true", help="show how code changed")
    two.add_argument("--all", action="store_true", help="also kernels that did not change")
    two.add_argument("--target-dir", default=os.path.join(ROOT, "target", "compare"), help="where revisions are built and kept")
    two.set_defaults(run=compare)
    for name, run in (("check", check), ("record", record)):
        one = commands.add_parser(name, help=f"{name} {os.path.basename(TABLE)}")
        one.add_argument("--kiln", required=True, type=os.path.abspath, help="the kiln program")
        one.set_defaults(run=run)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
