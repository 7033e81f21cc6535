"""The outlines of products: what is drawn for each category, in a slim, a plain and a wide shape."""

from collections.abc import Callable

from PIL import Image, ImageDraw

Point = tuple[float, float]
Draw = ImageDraw.ImageDraw

CANVAS = 192  # pixels along one side
WIDTHS, HEIGHTS = (34.0, 46.0, 60.0), (60.0, 50.0, 40.0)  # of shapes 0, 1, 2, in hundredths of the canvas


def box(x: float, y: float, w: float, h: float) -> tuple[int, int, int, int]:
    """Centre and size in hundredths of the canvas → pixel corners."""
    s = CANVAS / 100
    return round((x - w / 2) * s), round((y - h / 2) * s), round((x + w / 2) * s), round((y + h / 2) * s)


def path(*points: Point) -> list[tuple[int, int]]:
    """Points in hundredths of the canvas → pixels."""
    return [(round(x * CANVAS / 100), round(y * CANVAS / 100)) for x, y in points]


def mug(draw: Draw, w: float, h: float) -> None:
    draw.ellipse(box(50 + w / 2, 50, 26, h * 0.6), fill=255)
    draw.ellipse(box(50 + w / 2, 50, 14, h * 0.36), fill=0)
    draw.rounded_rectangle(box(50, 50, w, h), 10, fill=255)


def plate(draw: Draw, w: float, h: float) -> None:
    draw.ellipse(box(50, 50, w + 22, {34.0: h, 46.0: w + 22}.get(w, w)), fill=255)


def bottle(draw: Draw, w: float, h: float) -> None:
    draw.rounded_rectangle(box(50, 58, w * 0.8, h), 14, fill=255)
    draw.rectangle(box(50, 50 - h / 2 + 2, w * 0.3, 26), fill=255)


def lamp(draw: Draw, w: float, h: float) -> None:
    draw.polygon(path((50 - w * 0.2, 18), (50 + w * 0.2, 18), (50 + w / 2, 52), (50 - w / 2, 52)), fill=255)
    draw.rectangle(box(50, 66, 6, 30), fill=255)
    draw.ellipse(box(50, 82, w * 0.7, 10), fill=255)


def cushion(draw: Draw, w: float, h: float) -> None:
    draw.rounded_rectangle(box(50, 50, w + 14, h + 6), 34, fill=255)


def clock(draw: Draw, w: float, h: float) -> None:
    """Round; the slim one on a foot, the wide one in a square case."""
    draw.ellipse(box(50, 50, 62, 62), fill=255)
    if w == WIDTHS[0]:
        draw.rectangle(box(50, 78, 40, 12), fill=255)
    elif w == WIDTHS[2]:
        draw.rectangle(box(50, 50, 66, 66), fill=255)


def candle(draw: Draw, w: float, h: float) -> None:
    draw.rectangle(box(50, 58, w * 0.8, h), fill=255)
    draw.ellipse(box(50, 22, 8, 16), fill=255)


def bag(draw: Draw, w: float, h: float) -> None:
    left, right, top, bottom = 50 - w / 2, 50 + w / 2, 50 - h / 2, 50 + h / 2
    draw.arc(box(50, top + 8, w * 0.6, 40), 180, 360, fill=255, width=9)
    draw.polygon(path((left + 4, top + 8), (right - 4, top + 8), (right + 4, bottom + 12), (left - 4, bottom + 12)), fill=255)


def shirt(draw: Draw, w: float, h: float) -> None:
    left, right, hem = 50 - w / 2, 50 + w / 2, 50 + h / 2 + 14
    shoulders = ((left, 24), (right, 24), (right + 18, 44), (right + 8, 54), (right - 2, 46), (right - 2, hem))
    draw.polygon(path(*shoulders, (left + 2, hem), (left + 2, 46), (left - 8, 54), (left - 18, 44)), fill=255)
    draw.ellipse(box(50, 23, 16, 12), fill=0)


def carton(draw: Draw, w: float, h: float) -> None:
    draw.rectangle(box(50, 58, w + 6, h), fill=255)
    draw.rectangle(box(50, 58 - h / 2, w + 16, 12), fill=255)


def bear(draw: Draw, w: float, h: float) -> None:
    draw.ellipse(box(50, 66, w, h * 0.9), fill=255)
    draw.ellipse(box(50, 34, 36, 34), fill=255)
    for x in (36, 64):
        draw.ellipse(box(x, 20, 15, 15), fill=255)


def planter(draw: Draw, w: float, h: float) -> None:
    left, right, foot = 50 - w / 2, 50 + w / 2, 50 + h / 2 + 22
    draw.polygon(path((left - 4, 34), (right + 4, 34), (right - 8, foot), (left + 8, foot)), fill=255)
    draw.rectangle(box(50, 34, w + 18, 10), fill=255)


OUTLINES: dict[str, Callable[[Draw, float, float], None]] = {
    "mug": mug,
    "plate": plate,
    "bottle": bottle,
    "lamp": lamp,
    "cushion": cushion,
    "clock": clock,
    "candle": candle,
    "bag": bag,
    "shirt": shirt,
    "box": carton,
    "bear": bear,
    "planter": planter,
}


def silhouette(noun: str, shape: int) -> Image.Image:
    """The mask of a product, 255 inside. Shape 0 is slim, 1 plain, 2 wide."""
    mask = Image.new("L", (CANVAS, CANVAS), 0)
    OUTLINES[noun](ImageDraw.Draw(mask), WIDTHS[shape], HEIGHTS[shape])
    return mask


def details(noun: str) -> Image.Image:
    """The mask of what is drawn dark over everything: hands of a clock, eyes of a bear."""
    mask = Image.new("L", (CANVAS, CANVAS), 0)
    draw = ImageDraw.Draw(mask)
    if noun == "clock":
        draw.ellipse(box(50, 50, 62, 62), outline=255, width=5)
        draw.line(path((50, 50), (50, 27)), fill=255, width=5)
        draw.line(path((50, 50), (66, 58)), fill=255, width=6)
    elif noun == "bear":
        for x in (42, 58):
            draw.ellipse(box(x, 31, 5, 5), fill=255)
        draw.ellipse(box(50, 40, 9, 7), fill=255)
    return mask
