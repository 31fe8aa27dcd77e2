#!/usr/bin/env python3
"""Assembles every PTX text of the interpreter's tests, to be sure that it is valid PTX.

Needs: pip install --no-deps nvidia-cuda-nvcc==13.0.88, and PTXAS=.../nvidia/cu13/bin/ptxas (or ptxas on PATH).
The tests write their texts (KILN_PTX_DUMP); each is assembled for the target that it names. With --nvcc NVCC, the PTX of cuda/*.cu is
made anew as well (needs nvidia-nvvm==13.0.88, nvidia-cuda-crt==13.0.88, nvidia-cuda-runtime==13.0.96, nvidia-cuda-cccl==13.0.85).
"""
import argparse, os, pathlib, re, shutil, subprocess, sys, tempfile

HERE = pathlib.Path(__file__).resolve().parent


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--nvcc", help="compile cuda/*.cu with this nvcc first")
    arguments = arguments.parse_args()
    ptxas = os.environ.get("PTXAS") or shutil.which("ptxas")
    if not ptxas:
        sys.exit("no ptxas: set PTXAS, see --help")
    if arguments.nvcc:
        include = pathlib.Path(arguments.nvcc).resolve().parent.parent / "include"
        for source in sorted((HERE / "cuda").glob("*.cu")):
            flags = ["-ptx", "-arch=compute_80", "-O3", f"-I{include}", f"-I{include / 'cccl'}"]
            subprocess.run([arguments.nvcc, *flags, source.name, "-o", source.with_suffix(".ptx").name], check=True, cwd=source.parent)
    with tempfile.TemporaryDirectory() as folder:
        test = ["cargo", "test", "--quiet", "--manifest-path", str(HERE / "Cargo.toml")]
        subprocess.run(test, check=True, env={**os.environ, "KILN_PTX_DUMP": folder}, stdout=subprocess.DEVNULL)
        texts = sorted(pathlib.Path(folder).glob("*.ptx"))
        if not texts:
            sys.exit("the tests wrote no PTX")
        failed = 0
        for text in texts:
            target = re.search(r"^\s*\.target\s+(\w+)", text.read_text(), re.M).group(1)
            done = subprocess.run([ptxas, f"-arch={target}", str(text), "-o", os.devnull], capture_output=True, text=True)
            failed += done.returncode != 0
            if done.returncode:
                print(f"{text.name} ({target}):\n{done.stderr or done.stdout}")
        print(f"{len(texts)} texts, {failed} refused by {ptxas}")
        sys.exit(1 if failed else 0)


main()
