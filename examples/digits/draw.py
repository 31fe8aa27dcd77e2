"""Draws the digit pictures in `pictures/`: pen strokes through a few points each, shaken as a hand would.

    python draw.py [FOLDER]

Pure Python, no packages; the same seed gives the same bytes. The pictures look as MNIST's do, because that is what the
network has seen: white ink on black, the digit 20/28 of the picture high or wide, its centre of mass in the middle.
"""
import math
import pathlib
import random
import struct
import sys
import zlib

SEED = 28
PIXELS = 28
BOX = 20 / PIXELS  # the digit's longer side, as a share of the picture's

# A style is a list of strokes, a stroke a list of points (x to the right, y down, about 0..1) joined by a smooth curve.
# A corner is where one stroke ends and the next begins at the same point.
STYLES = {
    "0-round": [[(0.52, 0.02), (0.16, 0.2), (0.1, 0.62), (0.42, 0.98), (0.84, 0.74), (0.86, 0.28), (0.52, 0.02)]],
    "0-narrow": [[(0.58, 0.04), (0.3, 0.22), (0.22, 0.6), (0.4, 0.97), (0.68, 0.72), (0.74, 0.3), (0.5, 0.03)]],
    "1-plain": [[(0.52, 0.0), (0.5, 0.5), (0.5, 1.0)]],
    "1-flag": [[(0.3, 0.24), (0.44, 0.14), (0.56, 0.0)], [(0.56, 0.0), (0.55, 0.5), (0.54, 1.0)]],
    "2-swan": [[(0.14, 0.24), (0.4, 0.02), (0.78, 0.16), (0.7, 0.48), (0.36, 0.78), (0.1, 0.97)], [(0.1, 0.97), (0.5, 0.94), (0.92, 0.96)]],
    "2-loop": [[(0.2, 0.2), (0.5, 0.02), (0.78, 0.2), (0.6, 0.58), (0.26, 0.94), (0.12, 0.84), (0.3, 0.78), (0.56, 0.94), (0.94, 0.9)]],
    "3-round": [[(0.2, 0.12), (0.52, 0.0), (0.78, 0.18), (0.66, 0.4), (0.4, 0.47)], [(0.4, 0.47), (0.74, 0.54), (0.82, 0.8), (0.5, 1.0), (0.14, 0.88)]],
    "3-flat": [[(0.18, 0.06), (0.5, 0.05), (0.8, 0.04)], [(0.8, 0.04), (0.62, 0.24), (0.46, 0.42)], [(0.46, 0.42), (0.78, 0.56), (0.74, 0.88), (0.42, 1.0), (0.14, 0.9)]],
    "4-open": [[(0.24, 0.04), (0.18, 0.3), (0.16, 0.54)], [(0.16, 0.54), (0.5, 0.55), (0.86, 0.5)], [(0.74, 0.02), (0.7, 0.5), (0.66, 1.0)]],
    "4-slim": [[(0.3, 0.02), (0.2, 0.26), (0.2, 0.48), (0.44, 0.54), (0.74, 0.46)], [(0.76, 0.06), (0.72, 0.5), (0.7, 1.0)]],
    "5-hooked": [[(0.84, 0.03), (0.54, 0.04), (0.28, 0.05)], [(0.28, 0.05), (0.24, 0.24), (0.22, 0.44)], [(0.22, 0.44), (0.54, 0.38), (0.82, 0.6), (0.68, 0.92), (0.36, 1.0), (0.12, 0.9)]],
    "5-soft": [[(0.88, 0.06), (0.6, 0.03), (0.38, 0.1), (0.28, 0.38), (0.52, 0.46), (0.72, 0.64), (0.58, 0.92), (0.3, 0.99), (0.1, 0.88)]],
    "6-tall": [[(0.66, 0.0), (0.36, 0.26), (0.2, 0.62), (0.3, 0.94), (0.62, 0.94), (0.74, 0.7), (0.52, 0.54), (0.24, 0.7)]],
    "6-curled": [[(0.78, 0.1), (0.46, 0.12), (0.2, 0.46), (0.2, 0.82), (0.46, 1.0), (0.76, 0.82), (0.68, 0.58), (0.42, 0.56), (0.22, 0.74)]],
    "7-plain": [[(0.12, 0.08), (0.46, 0.07), (0.86, 0.04)], [(0.86, 0.04), (0.62, 0.44), (0.44, 1.0)]],
    "7-crossed": [[(0.14, 0.1), (0.5, 0.06), (0.88, 0.06)], [(0.88, 0.06), (0.66, 0.44), (0.42, 1.0)], [(0.34, 0.5), (0.56, 0.48), (0.82, 0.46)]],
    "8-one-line": [[(0.76, 0.14), (0.46, 0.0), (0.24, 0.2), (0.48, 0.46), (0.74, 0.74), (0.48, 1.0), (0.2, 0.8), (0.46, 0.5), (0.74, 0.24), (0.7, 0.1)]],
    "8-two-rings": [[(0.5, 0.0), (0.26, 0.2), (0.48, 0.46), (0.74, 0.22), (0.5, 0.0)], [(0.48, 0.46), (0.18, 0.74), (0.46, 1.0), (0.8, 0.76), (0.5, 0.46)]],
    "9-straight": [[(0.76, 0.16), (0.46, 0.02), (0.22, 0.26), (0.42, 0.5), (0.72, 0.32), (0.78, 0.12)], [(0.78, 0.12), (0.72, 0.54), (0.66, 1.0)]],
    "9-hooked": [[(0.74, 0.2), (0.48, 0.0), (0.22, 0.24), (0.44, 0.5), (0.74, 0.3), (0.76, 0.2), (0.74, 0.64), (0.56, 0.94), (0.24, 0.94)]],
}
# Pictures drawn larger than the network's input, so that the way through resizing is walked too.
ENLARGED = {"2-swan": 4, "5-hooked": 3, "8-two-rings": 4}

Dot = tuple[float, float, float]  # x, y and the pen's radius there


def curve(points: list[tuple[float, float]], steps: int = 12) -> list[tuple[float, float]]:
    """A Catmull-Rom spline through `points`, as a fine polyline."""
    padded = [points[0], *points, points[-1]]
    line = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:]):
        for step in range(steps):
            t = step / steps
            line.append(tuple(0.5 * (2 * q + (r - p) * t + (2 * p - 5 * q + 4 * r - s) * t * t + (3 * q - p - 3 * r + s) * t**3) for p, q, r, s in zip(a, b, c, d)))
    return [*line, points[-1]]


def write_by_hand(strokes: list[list[tuple[float, float]]], hand: random.Random) -> list[list[Dot]]:
    """The strokes as one person would make them: points a little off, a slant, a turn, a pen pressed unevenly. In units of the picture's side."""
    offsets = {point: (hand.gauss(0, 0.016), hand.gauss(0, 0.016)) for stroke in strokes for point in stroke}  # shared corners stay joined
    slant, turn = hand.uniform(-0.02, 0.28), hand.uniform(-0.08, 0.08)
    width = hand.uniform(0.72, 0.95)
    radius = hand.uniform(0.036, 0.054)
    pressure_phase = hand.uniform(0, math.tau)

    def place(point):
        x, y = (value + offset for value, offset in zip(point, offsets[point]))
        x, y = (x - 0.5) * width - slant * (y - 0.5), y - 0.5
        return x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)

    lines = [curve([place(point) for point in stroke]) for stroke in strokes]
    xs, ys = zip(*(point for line in lines for point in line))
    scale = (BOX - 2 * radius) / max(max(xs) - min(xs), max(ys) - min(ys))
    return [[(x * scale, y * scale, radius * (1 + 0.14 * math.sin(pressure_phase + i / 9))) for i, (x, y) in enumerate(line)] for line in lines]


def distance_to_segment(x: float, y: float, a: Dot, b: Dot) -> float:
    """From a point to the edge of the ink between two dots; negative inside."""
    along_x, along_y = b[0] - a[0], b[1] - a[1]
    length_squared = along_x * along_x + along_y * along_y
    t = 0.0 if length_squared == 0 else min(1.0, max(0.0, ((x - a[0]) * along_x + (y - a[1]) * along_y) / length_squared))
    return math.hypot(x - a[0] - t * along_x, y - a[1] - t * along_y) - (a[2] + t * (b[2] - a[2]))


def render(lines: list[list[Dot]], size: int, shift: tuple[float, float]) -> list[list[float]]:
    """Ink 0..1 per pixel, rows of `size`; the edge fades over one pixel of the smallest picture, as a scanned pen's does."""
    fade = 1 / PIXELS
    segments = [(a, b) for line in lines for a, b in zip(line, line[1:])]
    rows = []
    for row in range(size):
        y = (row + 0.5) / size - 0.5 - shift[1]
        xs = [(column + 0.5) / size - 0.5 - shift[0] for column in range(size)]
        near = [(a, b) for a, b in segments if min(a[1], b[1]) - 0.12 < y < max(a[1], b[1]) + 0.12]
        rows.append([min(1.0, max(0.0, 0.5 - min((distance_to_segment(x, y, a, b) for a, b in near), default=1.0) / fade)) for x in xs])
    return rows


def centre_of_mass(rows: list[list[float]]) -> tuple[float, float]:
    """Where the ink is on average, relative to the middle, in units of the picture's side."""
    size, total = len(rows), sum(map(sum, rows))
    x = sum(ink * ((column + 0.5) / size - 0.5) for row in rows for column, ink in enumerate(row)) / total
    y = sum(sum(row) * ((index + 0.5) / size - 0.5) for index, row in enumerate(rows)) / total
    return x, y


def png(rows: list[list[float]]) -> bytes:
    """An 8-bit greyscale PNG.   Source: PNG specification (third edition), §5 chunks, §11.2 header, filter type 0."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    scanlines = b"".join(b"\0" + bytes(round(255 * ink) for ink in row) for row in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(scanlines, 9)) + chunk(b"IEND", b"")


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    for style, strokes in STYLES.items():
        lines = write_by_hand(strokes, random.Random(f"{SEED} {style}"))
        x, y = centre_of_mass(render(lines, PIXELS, (0.0, 0.0)))
        picture = render(lines, PIXELS * ENLARGED.get(style, 1), (-x, -y))
        (folder / f"{style}.png").write_bytes(png(picture))
    print(f"drew {len(STYLES)} pictures in {folder}")


if __name__ == "__main__":
    main()
