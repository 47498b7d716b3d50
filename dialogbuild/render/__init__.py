"""Rasterising, shading and drawing heads: numpy and numba only, no window system, no GPU needed."""
