"""Images that are no digits, drawn like digits: letters of strokes, and textures, for open-set noise.

Each is drawn on 8x8 points in 0..16 and doubled, as the scans of `built_in.digits` are.
"""

from __future__ import annotations

import numpy as np

from .built_in import double

# strokes of letters that no digit looks like, from (x, y) to (x, y) in the unit square, y downwards
LETTERS: dict[str, list[tuple[float, float, float, float]]] = {
    "A": [(0, 1, 0.5, 0), (0.5, 0, 1, 1), (0.2, 0.6, 0.8, 0.6)],
    "E": [(0, 0, 0, 1), (0, 0, 1, 0), (0, 0.5, 0.8, 0.5), (0, 1, 1, 1)],
    "H": [(0, 0, 0, 1), (1, 0, 1, 1), (0, 0.5, 1, 0.5)],
    "K": [(0, 0, 0, 1), (1, 0, 0, 0.5), (0, 0.5, 1, 1)],
    "M": [(0, 1, 0, 0), (0, 0, 0.5, 0.6), (0.5, 0.6, 1, 0), (1, 0, 1, 1)],
    "N": [(0, 1, 0, 0), (0, 0, 1, 1), (1, 1, 1, 0)],
    "T": [(0, 0, 1, 0), (0.5, 0, 0.5, 1)],
    "V": [(0, 0, 0.5, 1), (0.5, 1, 1, 0)],
    "W": [(0, 0, 0.25, 1), (0.25, 1, 0.5, 0.4), (0.5, 0.4, 0.75, 1), (0.75, 1, 1, 0)],
    "X": [(0, 0, 1, 1), (1, 0, 0, 1)],
}


def outsiders(n: int, rng: np.random.RandomState) -> np.ndarray:
    """uint8 (n, 1, 16, 16): letters and textures, one after the other in random order."""
    names = sorted(LETTERS)
    drawn = [
        letter(LETTERS[names[rng.randint(len(names))]], rng) if kind else texture(rng)
        for kind in rng.permutation(np.arange(n) % 2)
    ]
    pixels = np.array(drawn, np.float64).reshape(n, 8, 8).round().clip(0, 16).astype(np.int64)
    for axis in (1, 2):
        pixels = double(pixels, axis)
    return ((pixels * 255 + 128) // 256).astype(np.uint8)[:, None]


def letter(strokes: list[tuple], rng: np.random.RandomState) -> np.ndarray:
    """(8, 8) in 0..16: a letter, slanted, scaled and moved a little, by a pen of random width."""
    width, height, slant = rng.uniform(4, 6), rng.uniform(5.5, 7), rng.uniform(-0.2, 0.2)
    left, top, pen = rng.uniform(0, 7 - width), rng.uniform(0, 7 - height), rng.uniform(0.5, 0.9)
    y, x = np.mgrid[:8, :8]
    ink = np.zeros((8, 8))
    for x0, y0, x1, y1 in np.asarray(strokes, np.float64) + rng.normal(0, 0.05, (len(strokes), 4)):
        a = np.array([left + (x0 - slant * (y0 - 0.5)) * width, top + y0 * height])
        b = np.array([left + (x1 - slant * (y1 - 0.5)) * width, top + y1 * height])
        along = ((x - a[0]) * (b - a)[0] + (y - a[1]) * (b - a)[1]) / max(((b - a) ** 2).sum(), 1e-9)
        along = along.clip(0, 1)
        apart = (x - a[0] - along * (b - a)[0]) ** 2 + (y - a[1] - along * (b - a)[1]) ** 2
        ink = np.maximum(ink, np.exp(-apart / (2 * pen**2)))
    return 16 * ink


def texture(rng: np.random.RandomState) -> np.ndarray:
    """(8, 8) in 0..16: noise that is smooth to a random degree, or a grating with noise on it."""
    if rng.rand() < 0.5:
        spectrum = np.fft.fft2(rng.standard_normal((8, 8)))
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(8), np.fft.fftfreq(8)))
        field = np.fft.ifft2(spectrum / (0.05 + frequency) ** rng.uniform(0, 1)).real
    else:
        angle, period = rng.uniform(0, np.pi), rng.uniform(2, 5)
        y, x = np.mgrid[:8, :8]
        waves = np.cos(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period + rng.uniform(0, 6))
        field = waves + 0.3 * rng.standard_normal((8, 8))
    return 8 + 5 * (field - field.mean()) / field.std()
