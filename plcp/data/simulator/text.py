"""Titles, descriptions and attributes of products: category, style and claimed quality, with synonyms and noise."""

import json

import numpy as np

from plcp.data.simulator import vocabulary
from plcp.data.simulator.config import CHUNK, SimulatorConfig
from plcp.data.simulator.draws import Draws
from plcp.data.simulator.product import Products

Array = np.ndarray

STYLE_SAID, BRAND_SAID, COLOUR_SAID = 0.85, 0.3, 0.06  # share of the titles that name each


class ProductText:
    """Writes the words of a chunk's products. Each word's choice has its own column of uniforms."""

    def __init__(self, config: SimulatorConfig, products: Products, chunk: int) -> None:
        self.nouns = [c.noun for c in config.world.categories]
        self.products = products
        self.u = Draws(config.seed, chunk).uniform("words", CHUNK, 16)[: products.size]

    def titles(self) -> list[str]:
        return [self._title(row) for row in range(self.products.size)]

    def descriptions(self) -> list[str | None]:
        """One or two sentences; every fifth product has none."""
        return [self._description(row) if self.u[row, 8] > 0.2 else None for row in range(self.products.size)]

    def attributes(self) -> list[str | None]:
        """JSON of what a supplier's sheet would say: material and size, with gaps."""
        found = []
        for row in range(self.products.size):
            u = self.u[row]
            sheet: dict[str, str | float] = {}
            if u[11] > 0.3:
                sheet["material"] = vocabulary.MATERIALS[int(u[12] * len(vocabulary.MATERIALS))][0]
            if u[13] > 0.4:
                sheet["size_cm"] = 5 + int(u[14] * 40)
            found.append(json.dumps(sheet) if sheet else None)
        return found

    def _word(self, row: int, column: int, pair: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
        words = pair[int(self.products.chinese[row])]
        return words[int(self.u[row, column] * len(words))]

    def _title(self, row: int) -> str:
        p, u = self.products, self.u[row]
        chinese = bool(p.chinese[row])
        noun = self._word(row, 0, vocabulary.NOUNS[self.nouns[p.category[row]]])
        style = self._word(row, 1, vocabulary.STYLES[p.style[row]]) if u[2] < STYLE_SAID else ""
        claim = self._word(row, 3, vocabulary.CLAIMS[int(p.claim[row])])
        brand = vocabulary.BRANDS[p.brand[row]][chinese] if u[4] < BRAND_SAID else ""
        colour = self._word(row, 6, vocabulary.COLOURS[p.colour[row]]) if u[5] < COLOUR_SAID else ""
        successor = ("II", "二代")[chinese] if p.predecessor[row] >= 0 else ""
        occasion = vocabulary.OCCASIONS[int(u[7] * len(vocabulary.OCCASIONS))][chinese]
        words = [brand, claim, style, colour, noun, successor, occasion]
        if chinese:
            return "".join(words[:-1]) + (f" {occasion}" if occasion else "")
        title = " ".join(w for w in words if w)
        # shops shout, title-case or do neither
        return (title.upper(), title.title(), title)[int(u[9] * 3)]

    def _description(self, row: int) -> str:
        p, u = self.products, self.u[row]
        chinese = bool(p.chinese[row])
        noun = self._word(row, 10, vocabulary.NOUNS[self.nouns[p.category[row]]])
        style = self._word(row, 15, vocabulary.STYLES[p.style[row]])
        brand = vocabulary.BRANDS[p.brand[row]][chinese]
        material = vocabulary.MATERIALS[int(u[12] * len(vocabulary.MATERIALS))][chinese]
        claim = int(p.claim[row])
        if chinese:
            promise = {-1: "价格实惠，适合日常。", 0: "", 1: "选材讲究，做工精良。"}[claim]
            return f"{brand}出品的{style}{noun}，{material}材质。{promise}"
        promise = {-1: " Honest value for every day.", 0: "", 1: " Carefully chosen materials, made to last."}[claim]
        return f"A {style} {noun} by {brand}, made of {material}.{promise}"


def misspell(title: str, u: float) -> str:
    """The title with two neighbouring letters swapped."""
    if len(title) < 4:
        return title
    at = 1 + int(u * (len(title) - 3))
    return title[:at] + title[at + 1] + title[at] + title[at + 2 :]
