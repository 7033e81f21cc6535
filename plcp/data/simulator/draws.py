"""Random numbers that are a function of (seed, stream, place), whatever else was drawn before."""

import zlib
from dataclasses import dataclass

import numpy as np

from plcp.data.simulator import arithmetic

Array = np.ndarray

STEP = np.uint64(0x9E3779B97F4A7C15)  # splitmix64 (Steele, Lea & Flood 2014)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
GLOBAL = (1 << 32) - 1  # the place of what belongs to no chunk


def _open_unit(bits: Array) -> Array:
    """64 random bits → a double strictly between 0 and 1."""
    return ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def _mix(x: Array) -> Array:
    x = x + STEP
    x = (x ^ (x >> np.uint64(30))) * MIX_1
    x = (x ^ (x >> np.uint64(27))) * MIX_2
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True)
class Draws:
    """The random numbers of one chunk of SKUs. Each named stream starts at the same place however often it is asked for."""

    seed: int
    chunk: int = GLOBAL

    def uniform(self, stream: str, *shape: int) -> Array:
        """Philox4x64 keyed by (seed, stream, chunk), raw bits only: they never change between NumPy versions."""
        key = np.array([self.seed, zlib.crc32(stream.encode()) << 32 | self.chunk], dtype=np.uint64)
        bits = np.random.Philox(key=key).random_raw(int(np.prod(shape)))
        return _open_unit(bits.astype(np.uint64)).reshape(shape)

    def normal(self, stream: str, *shape: int) -> Array:
        return arithmetic.normal(self.uniform(stream, *shape))

    def hashed(self, stream: str, *counters: Array | int) -> Array:
        """Uniforms at the given counters (broadcast together): for draws whose number depends on what happens in the shop."""
        start = np.uint64((self.seed * 0x2545F4914F6CDD1D + zlib.crc32(stream.encode()) * 0x100000001B3 + self.chunk) % 2**64)
        with np.errstate(over="ignore"):
            state = _mix(np.asarray(start))
            for counter in counters:
                state = _mix(state ^ np.asarray(counter).astype(np.uint64))
        return _open_unit(np.atleast_1d(state))

    def choice(self, stream: str, size: int, weights: Array) -> Array:
        """Indices drawn with the given weights, shape (size,)."""
        return pick(self.uniform(stream, size), weights)


def pick(u: Array, weights: Array) -> Array:
    """Index of the weight that each uniform falls into."""
    edges = np.cumsum(np.asarray(weights, np.float64))
    return np.minimum(np.searchsorted(edges, u * edges[-1], side="right"), len(edges) - 1)
