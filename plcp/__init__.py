"""Life-cycle prediction for every product in a catalog."""

__version__ = "0.1.0"
