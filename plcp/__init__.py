"""Life-cycle prediction for every product in a catalog."""
