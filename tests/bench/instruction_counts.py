"""Counts the instructions that one run of a compiled model takes, kernel by kernel, and reads its machine code.

The model becomes an object for a fixed level of the CPU, linked with run_once.c, which runs it once on one thread and on fixed inputs.
Callgrind counts between entering and leaving the model's function, so neither start-up nor the C library is in the numbers: they are
the same in each run and on each machine. Needs a C compiler, binutils and valgrind, which has no AVX-512.
"""
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BYTES = {"bool": 1, "i8": 1, "u8": 1, "i16": 2, "u16": 2, "f16": 2, "bf16": 2, "i32": 4, "u32": 4, "f32": 4, "i64": 8, "u64": 8, "f64": 8}
# What shapes in signatures are written with.
FUNCTIONS = {"floordiv": lambda a, b: a // b, "mod": lambda a, b: a % b, "min": min, "max": max, "bcast": lambda a, b: b if a == 1 else a}


def answer(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def elements(shape, sizes):
    """How many elements a shape of the signature has; its dims are numbers or polynomials as text."""
    product = 1
    for dim in shape:
        product *= dim if isinstance(dim, int) else eval(dim, {"__builtins__": {}, **FUNCTIONS}, sizes)
    return product


class Program:
    """A model as an object and as a program that runs it once."""

    def __init__(self, kiln, path, scratch, options=(), cpu="x86-64-v3"):
        self.object = os.path.join(scratch, "model.o")
        self.program = os.path.join(scratch, "model")
        # Kernels are named after places in the model's file, with its path as it is given here.
        directory, file = os.path.split(os.path.abspath(path))
        answer([kiln, "compile", file, "-o", self.object, "--emit", "obj", "--cpu", cpu, *options], cwd=directory)
        headers = [name for name in os.listdir(scratch) if name.endswith(".h")]
        header = os.path.join(scratch, headers[0])
        self.name = re.search(r"extern const kiln_model (\w+)_model;", open(header, encoding="utf-8").read()).group(1)
        source = os.path.join(HERE, "run_once.c")
        answer(["cc", "-O1", "-include", header, f"-DMODEL={self.name}_model", source, self.object, "-o", self.program])
        os.remove(header)

    def arguments(self, sizes):
        """Those of run_once.c for these values of symbols; what `sizes` does not name is 1."""
        signature = json.loads(answer([self.program]))
        if signature["data_dependent"]:
            sys.exit(f"{self.name}: its outputs depend on data, so their sizes are not known before it runs")
        names = [symbol["name"] for symbol in signature["symbols"]]
        unknown = sizes.keys() - names
        if unknown:
            sys.exit(f"{self.name} has no size {', '.join(sorted(unknown))}; it has {', '.join(names)}")
        sizes = {name: sizes.get(name, 1) for name in names}
        found = [part for name in names for part in ("--dim", str(sizes[name]))]
        for tensor in signature["inputs"]:
            size, kind = BYTES[tensor["dtype"]], "f" if "f" in tensor["dtype"] else "i"
            found += ["--input", f"{kind}{size}:{size * elements(tensor['shape'], sizes)}"]
        for tensor in signature["outputs"]:
            found += ["--output", str(BYTES[tensor["dtype"]] * elements(tensor["shape"], sizes))]
        return found

    def counts(self, sizes):
        """Instructions of one run, and of each kernel by its symbol."""
        listing = self.program + ".callgrind"
        tool = ["valgrind", "--tool=callgrind", f"--toggle-collect={self.name}_predict", f"--callgrind-out-file={listing}"]
        answer([*tool, "--compress-strings=no", "--compress-pos=no", self.program, *self.arguments(sizes)])
        kernels, function, is_call = {}, None, False
        with open(listing, encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("fn="):
                    function = line[3:].strip()
                elif line.startswith("calls="):
                    # The next line is what the call takes inside, which counts where it is spent.
                    is_call = True
                elif line[0].isdigit():
                    if not is_call:
                        kernels[function] = kernels.get(function, 0) + int(line.split()[1])
                    is_call = False
        whole = sum(kernels.values())
        return whole, {name[len("layer."):]: count for name, count in kernels.items() if name.startswith("layer.")}

    def code(self):
        """The instructions of each kernel as lines. Places of jumps count from the kernel's beginning."""
        found, lines = {}, []
        for line in answer(["objdump", "-d", "--no-show-raw-insn", "-M", "intel", self.object]).splitlines():
            head = re.match(r"[0-9a-f]+ <(.*)>:$", line)
            if head:
                lines = []
                if head.group(1).startswith("layer."):
                    found[head.group(1)[len("layer."):]] = lines
            elif "\t" in line:
                instruction = line.split("\t", 1)[1].strip()
                lines.append(re.sub(r"\b[0-9a-f]+ <layer\.[^>]*?(\+0x[0-9a-f]+)?>", lambda m: m.group(1) or "+0x0", instruction))
        return found
