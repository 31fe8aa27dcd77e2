"""Reads the MNIST files as they are distributed: IDX arrays inside gzip."""
import gzip
import pathlib
import struct

import numpy as np

IDX_UNSIGNED_BYTE = 0x08


def read_idx(path: pathlib.Path) -> np.ndarray:
    """The array in a gzipped IDX file.   Layout: 0, 0, type code, rank, then big-endian sizes, then the elements."""
    data = gzip.decompress(path.read_bytes())
    zeros, type_code, rank = struct.unpack_from(">HBB", data)
    if zeros != 0 or type_code != IDX_UNSIGNED_BYTE:
        raise SystemExit(f"error: {path} is not an IDX file of unsigned bytes")
    sizes = struct.unpack_from(f">{rank}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(sizes)


def read_split(folder: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images as float32 `[count, 1, 28, 28]` in 0..1 and labels as int64 `[count]`; `split` is `train` or `t10k`."""
    root = pathlib.Path(folder)
    images = read_idx(root / f"{split}-images-idx3-ubyte.gz")
    labels = read_idx(root / f"{split}-labels-idx1-ubyte.gz")
    return images[:, None].astype(np.float32) / np.float32(255), labels.astype(np.int64)
