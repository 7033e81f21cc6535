"""Whether what images, titles and reviews carry can be read from them, and from nothing else. Needs the extra `peers`.

    python -m benchmarks.simulator.readable

Simple regressions (ridge, with the category known) from each source to each true effect; figures are R² on products not fitted on.
"""

import io
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV

from benchmarks.results import Figure, write_results
from plcp.data.simulator import SimulatorConfig, simulate

Array = np.ndarray

CONFIG = SimulatorConfig(skus=6000, weeks=104, seed=51, images=2, dirt=False, baskets_per_sku=0)
TRAIN = 4500
SIDE = 32  # pixels an image is read at
EFFECTS = {"looks": "look_effect", "style": "style_effect", "quality": "quality"}
SOURCE_OF = {"looks": "image", "style": "title", "quality": "reviews"}
READ_WELL, READ_ELSEWHERE = 0.4, 0.25


def image_features(photos: list[list[bytes]]) -> Array:
    """Colour histogram and spectrum of each product's photos, mean over them; crossed with nothing."""
    found = []
    for several in photos:
        views = []
        for photo in several:
            pixels = np.asarray(Image.open(io.BytesIO(photo)).resize((SIDE, SIDE)), float) / 255
            colours = np.histogramdd((pixels - pixels[0, 0]).reshape(-1, 3), bins=4, range=[(-1, 1)] * 3)[0].ravel() / SIDE**2
            grey = np.abs(pixels - pixels[0, 0]).mean(2)
            spectrum = np.log1p(np.abs(np.fft.rfft2(grey))).ravel()
            views.append(np.concatenate([4 * colours, spectrum, grey.mean(0), grey.mean(1)]))
        found.append(np.mean(views, axis=0))
    return np.array(found)


def by_category(features: csr_matrix, category: Array) -> csr_matrix:
    """The features, each category with coefficients of its own: a look sells in one category and not in another."""
    blocks = [features.multiply((category == c)[:, None]) for c in range(category.max() + 1)]
    return hstack([features, *blocks]).tocsr()


def explained(features: csr_matrix, effect: Array) -> float:
    model = RidgeCV(np.logspace(-2, 3, 8)).fit(features[:TRAIN], effect[:TRAIN])
    return float(model.score(features[TRAIN:], effect[TRAIN:]))


def sources(shop: Path) -> tuple[dict[str, csr_matrix], pl.DataFrame]:
    def table(name: str) -> pl.DataFrame:
        return pl.read_parquet(shop / name / "*.parquet")

    products = table("products").join(table("truth/products"), on="sku_id", maintain_order="left")
    said = table("reviews").group_by("sku_id").agg(pl.col("text").drop_nulls().str.join(" "), stars=pl.col("rating").mean(), count=pl.len())
    reviewed = products.join(said, on="sku_id", how="left", maintain_order="left").with_columns(pl.col("text").fill_null(""))
    category = products["category"].rank("dense").to_numpy() - 1
    words = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), min_df=5)
    shrunk = (pl.col("stars").fill_null(3.9) - 3.9) * pl.col("count").fill_null(0) / (pl.col("count").fill_null(0) + 3)
    stars = reviewed.select(shrunk).to_numpy()
    return {
        "image": by_category(csr_matrix(image_features(products["image"].to_list())), category),
        "title": by_category(words.fit_transform(products["title"].str.to_lowercase()).tocsr(), category),
        "reviews": hstack([csr_matrix(stars), TfidfVectorizer(min_df=5).fit_transform(reviewed["text"])]).tocsr(),
    }, products


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        simulate(CONFIG, Path(folder) / "shop")
        found, products = sources(Path(folder) / "shop")
    figures = []
    for effect, column in EFFECTS.items():
        for source, features in found.items():
            r2 = explained(features, products[column].to_numpy())
            carrier = SOURCE_OF[effect] == source
            target = f"≥ {READ_WELL}" if carrier else f"≤ {READ_ELSEWHERE}"
            met = r2 >= READ_WELL if carrier else r2 <= READ_ELSEWHERE
            figures.append(Figure(f"{effect} read from {source}", round(r2, 3), "R²", target=target, met=met))
    write_results("simulator_readable", figures)


if __name__ == "__main__":
    main()
