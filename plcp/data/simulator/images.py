"""Photos of products: a silhouette by category and shape, in a colour and a pattern that the title leaves out."""

import io

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from plcp.data.simulator.config import CHUNK, SimulatorConfig
from plcp.data.simulator.draws import Draws
from plcp.data.simulator.products import Products

Point = tuple[float, float]

COLOURS = (
    (204, 44, 48), (232, 128, 36), (236, 200, 50), (72, 156, 68), (36, 160, 160),
    (44, 84, 176), (126, 70, 168), (232, 130, 172), (122, 82, 52), (128, 132, 138),
)  # fmt: skip
BACKGROUNDS = ((250, 250, 248), (238, 240, 244), (246, 240, 230), (232, 240, 232), (244, 234, 238))
INK = (40, 36, 34)
CANVAS = 192  # pixels drawn, before scaling down
JPEG_QUALITY = 88


def _box(x: float, y: float, w: float, h: float) -> tuple[int, int, int, int]:
    """Centre and size in hundredths of the canvas → pixel corners."""
    s = CANVAS / 100
    return round((x - w / 2) * s), round((y - h / 2) * s), round((x + w / 2) * s), round((y + h / 2) * s)


def _path(points: list[Point]) -> list[tuple[int, int]]:
    return [(round(x * CANVAS / 100), round(y * CANVAS / 100)) for x, y in points]


def silhouette(noun: str, shape: int) -> Image.Image:
    """The mask of a product, 255 inside. Shape 0 is slim, 1 plain, 2 wide; each category draws its own form."""
    mask = Image.new("L", (CANVAS, CANVAS), 0)
    draw = ImageDraw.Draw(mask)
    w = (34.0, 46.0, 60.0)[shape]
    h = (60.0, 50.0, 40.0)[shape]
    left, right, top, bottom = 50 - w / 2, 50 + w / 2, 50 - h / 2, 50 + h / 2
    if noun == "mug":
        draw.ellipse(_box(right, 50, 26, h * 0.6), fill=255)
        draw.ellipse(_box(right, 50, 14, h * 0.36), fill=0)
        draw.rounded_rectangle(_box(50, 50, w, h), 10, fill=255)
    elif noun == "plate":
        draw.ellipse(_box(50, 50, w + 22, (h, w + 22, w)[shape]), fill=255)
    elif noun == "bottle":
        draw.rounded_rectangle(_box(50, 58, w * 0.8, h), 14, fill=255)
        draw.rectangle(_box(50, 50 - h / 2 + 2, w * 0.3, 26), fill=255)
    elif noun == "lamp":
        draw.polygon(_path([(50 - w * 0.2, 18), (50 + w * 0.2, 18), (right, 52), (left, 52)]), fill=255)
        draw.rectangle(_box(50, 66, 6, 30), fill=255)
        draw.ellipse(_box(50, 82, w * 0.7, 10), fill=255)
    elif noun == "cushion":
        draw.rounded_rectangle(_box(50, 50, w + 14, h + 6), 34, fill=255)
    elif noun == "clock":
        draw.ellipse(_box(50, 50, 62, 62), fill=255)
        if shape == 0:
            draw.rectangle(_box(50, 78, 40, 12), fill=255)
        elif shape == 2:
            draw.rectangle(_box(50, 50, 66, 66), fill=255)
    elif noun == "candle":
        draw.rectangle(_box(50, 58, w * 0.8, h), fill=255)
        draw.ellipse(_box(50, 22, 8, 16), fill=255)
    elif noun == "bag":
        draw.arc(_box(50, top + 8, w * 0.6, 40), 180, 360, fill=255, width=9)
        draw.polygon(_path([(left + 4, top + 8), (right - 4, top + 8), (right + 4, bottom + 12), (left - 4, bottom + 12)]), fill=255)
    elif noun == "shirt":
        draw.polygon(_path([(left, 24), (right, 24), (right + 18, 44), (right + 8, 54), (right - 2, 46), (right - 2, bottom + 14),
                            (left + 2, bottom + 14), (left + 2, 46), (left - 8, 54), (left - 18, 44)]), fill=255)  # fmt: skip
        draw.ellipse(_box(50, 23, 16, 12), fill=0)
    elif noun == "box":
        draw.rectangle(_box(50, 58, w + 6, h), fill=255)
        draw.rectangle(_box(50, 58 - h / 2, w + 16, 12), fill=255)
    elif noun == "bear":
        draw.ellipse(_box(50, 66, w, h * 0.9), fill=255)
        draw.ellipse(_box(50, 34, 36, 34), fill=255)
        for x in (36, 64):
            draw.ellipse(_box(x, 20, 15, 15), fill=255)
    else:
        draw.polygon(_path([(left - 4, 34), (right + 4, 34), (right - 8, bottom + 22), (left + 8, bottom + 22)]), fill=255)
        draw.rectangle(_box(50, 34, w + 18, 10), fill=255)
    return mask


def details(noun: str) -> Image.Image:
    """The mask of what is drawn dark over everything: hands of a clock, eyes of a bear."""
    mask = Image.new("L", (CANVAS, CANVAS), 0)
    draw = ImageDraw.Draw(mask)
    if noun == "clock":
        draw.ellipse(_box(50, 50, 62, 62), outline=255, width=5)
        draw.line(_path([(50, 50), (50, 27)]), fill=255, width=5)
        draw.line(_path([(50, 50), (66, 58)]), fill=255, width=6)
    elif noun == "bear":
        for x in (42, 58):
            draw.ellipse(_box(x, 31, 5, 5), fill=255)
        draw.ellipse(_box(50, 40, 9, 7), fill=255)
    return mask


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
