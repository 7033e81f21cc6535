"""What `serve deploy` imports."""

from plcp.serving.app import build

__all__ = ["build"]
