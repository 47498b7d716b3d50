"""dialogbuild: videos of two people talking, turned into aligned 2D-3D training data."""

__version__ = "0.1.0"
