"""The online service against its peers and against the bare forward pass."""
