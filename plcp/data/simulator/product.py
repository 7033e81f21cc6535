"""What the simulator knows of each product of a chunk."""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Products:
    """Column arrays, one entry per SKU of the chunk. Log effects are of weekly units."""

    index: Array  # number in the catalog
    category: Array  # index into world.categories
    brand: Array
    style: Array
    shape: Array
    colour: Array
    pattern: Array
    chinese: Array  # bool: title in Chinese
    quality: Array  # standard deviations; unknown to customers at first
    claim: Array  # quality as the title claims it: −1, 0, 1
    list_price: Array  # at launch
    unit_cost: Array
    log_scale: Array  # log weekly units at the top of the life, all static effects included
    look: Array  # the part of log_scale that only the image carries
    style_effect: Array  # the part that the title's style word carries
    hidden: Array  # the part that nothing shows but sales
    elasticity: Array
    lift: Array  # log demand per unit of promotion depth
    order_size: Array  # mean units per order
    launch: Array  # week index
    rise: Array
    ramp: Array
    fall: Array
    slope: Array
    drift: Array
    family: Array
    group: Array  # SKUs of one group substitute each other
    predecessor: Array  # row in the chunk that this one succeeds, −1 if none
    complement: Array  # row in the chunk bought along with it, −1 if none
    lead_time: Array  # weeks
    case_pack: Array
    supplier: Array

    @property
    def size(self) -> int:
        return len(self.index)
