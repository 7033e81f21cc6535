"""Where products lie by what is known of them before they are sold: near each other if they are alike."""

from typing import Any

import numpy as np

from plcp.data.view import PanelView
from plcp.evaluation.baselines.lag_features import season_features
from plcp.evaluation.baselines.launch_features import Launches
from plcp.evaluation.baselines.titles import product_texts, title_words
from plcp.evaluation.cases import Cases

PRICE_WEIGHT = 0.5  # of a factor e in price; titles without a word in common lie sqrt(2) apart
SEASON_WEIGHT = 0.25  # of two opposite seasons


def attribute_points(view: PanelView, cases: Cases) -> Any:
    """Words of category, brand and title, price, and the season of the first week, (n + m, d) sparse. An unknown price is the mean one."""
    from scipy.sparse import csr_array, hstack

    words = title_words(product_texts(view, cases))
    announced = Launches.announced(view, cases)
    week = np.concatenate([np.minimum(view.first, view.origin - 1), announced.week])
    first_price = np.take_along_axis(view.price, week[: len(view.units), None], 1)[:, 0]
    price = np.log(np.maximum(np.concatenate([first_price, announced.price]), 0.01))
    known = ~np.isnan(price)
    price = np.where(known, price, price[known].mean() if known.any() else 0)
    season = season_features(view.timeline, week)[:, :2] / 2
    return hstack([words, csr_array(np.column_stack([PRICE_WEIGHT * price, SEASON_WEIGHT * season]))], format="csr")
