"""Photos of products: a silhouette by category and shape, in a colour and a pattern that the title leaves out."""

import io

import numpy as np
from PIL import Image, ImageChops

from plcp.data.simulator.config import CHUNK, SimulatorConfig
from plcp.data.simulator.draws import Draws
from plcp.data.simulator.product import Products
from plcp.data.simulator.silhouettes import CANVAS, details, silhouette

COLOURS = (
    (204, 44, 48), (232, 128, 36), (236, 200, 50), (72, 156, 68), (36, 160, 160),
    (44, 84, 176), (126, 70, 168), (232, 130, 172), (122, 82, 52), (128, 132, 138),
)  # fmt: skip
BACKGROUNDS = ((250, 250, 248), (238, 240, 244), (246, 240, 230), (232, 240, 232), (244, 234, 238))
INK = (40, 36, 34)
JPEG_QUALITY = 88


def pattern_mask(pattern: int) -> Image.Image:
    """Where the second colour goes: plain, stripes, bands, check, dots or diamonds."""
    y, x = np.mgrid[:CANVAS, :CANVAS]
    cell = 24
    dx, dy = x % cell - cell // 2, y % cell - cell // 2
    drawn = (
        np.zeros((CANVAS, CANVAS), bool),
        x % cell < cell // 2,
        y % cell < cell // 2,
        (x % (2 * cell) < cell) ^ (y % (2 * cell) < cell),
        dx * dx + dy * dy < 49,
        abs(dx) + abs(dy) < 8,
    )[pattern]
    return Image.fromarray(np.where(drawn, 255, 0).astype(np.uint8))


class Photographer:
    """Takes the photos of a chunk's products."""

    def __init__(self, config: SimulatorConfig, products: Products, chunk: int) -> None:
        self.config, self.products = config, products
        self.nouns = [c.noun for c in config.world.categories]
        self.draws = Draws(config.seed, chunk)
        self.patterns = [pattern_mask(k) for k in range(6)]
        self.outlines = {(n, k): silhouette(n, k) for n in set(self.nouns) for k in range(3)}
        self.details = {n: details(n) for n in set(self.nouns)}
        self.u = self.draws.uniform("photos", CHUNK, 8, 8)[: products.size]

    def photo(self, row: int, number: int) -> bytes:
        """The number-th photo of a product as JPEG: another background, light, turn and distance each time."""
        u, p = self.u[row, number], self.products
        size = self.config.image_size
        noun = self.nouns[p.category[row]]
        mask = self.outlines[noun, int(p.shape[row])]
        inner = ImageChops.multiply(mask, self.patterns[p.pattern[row]])
        turn, zoom = round((u[0] - 0.5) * 16), round(CANVAS * (0.86 + 0.14 * u[1]))
        shift = (round((u[2] - 0.5) * 12), round((u[3] - 0.5) * 12))
        colour = np.array(COLOURS[p.colour[row]])
        light = 0.9 + 0.2 * u[4]
        body = tuple(int(min(c * light, 255)) for c in colour)
        second = tuple(int(min(c * light * 0.45 + 140, 255)) for c in colour)
        drawn = Image.new("RGB", (CANVAS, CANVAS), BACKGROUNDS[int(u[5] * len(BACKGROUNDS))])
        place = ((CANVAS - zoom) // 2 + shift[0], (CANVAS - zoom) // 2 + shift[1])
        for layer, paint in ((mask, body), (inner, second), (self.details[noun], INK)):
            turned = layer.rotate(turn, Image.Resampling.NEAREST).resize((zoom, zoom), Image.Resampling.NEAREST)
            drawn.paste(paint, place, turned)
        out = io.BytesIO()
        drawn.resize((size, size), Image.Resampling.BOX).save(out, "JPEG", quality=JPEG_QUALITY)
        return out.getvalue()

    def photos(self) -> list[list[bytes]]:
        """All photos of every product of the chunk."""
        return [[self.photo(row, k) for k in range(self.config.images)] for row in range(self.products.size)]
