"""Runs the compiled network over the 10,000 MNIST test images and compares its labels with the truth and with ONNX Runtime.

    kiln compile examples/digits/digits.onnx -o digits --emit exe
    python examples/digits/compare.py DATA_DIR ./digits [--batch N] [--threads N]

DATA_DIR holds `t10k-images-idx3-ubyte.gz` and `t10k-labels-idx1-ubyte.gz`. Needs numpy and onnxruntime. Exits with 1 when
accuracy or agreement is below what digits.onnx is known to reach.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
from mnist import read_split

MODEL = pathlib.Path(__file__).with_name("digits.onnx")
LEAST_ACCURACY = 0.989
# Two probabilities may tie to the last bits, and two orders of summation then name different winners.
MOST_DISAGREEMENTS = 1
# max|a−b|: both sum some hundreds of float32 products a value, in different orders; peers differ by about 1e-6.
LARGEST_DIFFERENCE = 5e-5


def run_executable(executable: str, images: np.ndarray, batch: int, threads: int) -> np.ndarray:
    """Probabilities `[count, 10]`, computed `batch` images a process; the last batch is what is left."""
    outputs = []
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder, "in.npz"), pathlib.Path(folder, "out.npz")
        for start in range(0, len(images), batch):
            np.savez(source, image=images[start : start + batch])
            command = [executable, "--inputs", source, "--output", target, "--threads", str(threads)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(f"error: {executable} exited with {done.returncode} on images from {start}:\n{done.stderr or done.stdout}")
            with np.load(target) as arrays:
                outputs.append(arrays["probabilities"])
            target.unlink()
    return np.concatenate(outputs)


def main():
    parser = argparse.ArgumentParser(description="Compares the compiled digits network with the truth and with ONNX Runtime.")
    parser.add_argument("data", help="folder with the MNIST test files")
    parser.add_argument("executable", help="what `kiln compile ... --emit exe` wrote")
    parser.add_argument("--batch", type=int, default=999, help="images per run; by default the last run has another size than the rest")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    images, labels = read_split(arguments.data, "t10k")
    executable = str(pathlib.Path(arguments.executable).resolve())
    probabilities = run_executable(executable, images, arguments.batch, arguments.threads)
    if probabilities.shape != (len(labels), 10):
        sys.exit(f"error: {len(labels)} images gave probabilities of shape {probabilities.shape}")
    reference = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"]).run(["probabilities"], {"image": images})[0]

    accuracy = np.mean(probabilities.argmax(1) == labels)
    disagreements = int(np.sum(probabilities.argmax(1) != reference.argmax(1)))
    difference = float(np.abs(probabilities - reference).max())
    print(f"accuracy                       {accuracy:.4f}   (ONNX Runtime {np.mean(reference.argmax(1) == labels):.4f})")
    print(f"labels as ONNX Runtime's       {len(labels) - disagreements} of {len(labels)}")
    print(f"largest probability difference {difference:.1e}")
    # Written so that a NaN fails.
    passed = accuracy >= LEAST_ACCURACY and disagreements <= MOST_DISAGREEMENTS and difference <= LARGEST_DIFFERENCE
    sys.exit(0 if passed else "error: below what digits.onnx is known to reach")


if __name__ == "__main__":
    main()
