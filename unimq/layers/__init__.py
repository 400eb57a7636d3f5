"""Layers: each adds one meaning that a driver lacks."""
