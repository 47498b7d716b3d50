"""Choosing a rasteriser by name."""

from __future__ import annotations

from importlib.util import find_spec

from dialogbuild.errors import ConfigError, MissingPart
from dialogbuild.render.fragments import Rasterizer

CPU_ONLY = ("numba", "reference")
ON_TENSORS = ("torch", "pytorch3d")


def make_rasterizer(name: str = "auto", device: str = "cpu") -> Rasterizer:
    """A rasteriser; the compiler or library behind it is loaded here, not before.

    Args:
        name: ``numba`` (CPU; the fast one there), ``torch`` (any device), ``pytorch3d`` (built from source; a second
            opinion), ``reference`` (plain numpy, slow), or ``auto``: numba on the CPU, torch elsewhere.
        device: as torch names it. ``torch`` and ``pytorch3d`` are also a ``TensorRasterizer`` on it.

    Raises:
        ConfigError: the name is unknown, or the engine does not run on this device.
        MissingPart: the device or the library is absent.
    """
    kind = device.split(":")[0]
    if name == "auto":
        name = "numba" if kind == "cpu" else "torch"
    if name not in (*CPU_ONLY, *ON_TENSORS):
        raise ConfigError(f"no rasteriser {name!r}: {available()}")
    if name in CPU_ONLY:
        if kind != "cpu":
            raise ConfigError(f"rasteriser {name!r} does not run on {device!r}: {available()}")
        return _cpu_engine(name)
    import torch

    if kind == "cuda" and not torch.cuda.is_available():
        raise MissingPart(f"torch {torch.__version__} sees no CUDA device for rasteriser {name!r}: {available()}")
    if name == "torch":
        from dialogbuild.render.raster_torch import TorchRasterizer

        return TorchRasterizer(device)
    from dialogbuild.render.raster_pytorch3d import Pytorch3dRasterizer

    return Pytorch3dRasterizer(device)


def available() -> str:
    """What can be chosen on this machine, for error messages."""
    import torch

    devices = "cpu, cuda" if torch.cuda.is_available() else "cpu"
    have = [*(f"{name} (cpu)" for name in CPU_ONLY), f"torch ({devices})"]
    if find_spec("pytorch3d") is None:
        return f"there are {', '.join(have)}; pytorch3d is not installed (docs/packages.md)"
    return f"there are {', '.join([*have, f'pytorch3d ({devices})'])}"


def _cpu_engine(name: str) -> Rasterizer:
    if name == "numba":
        from dialogbuild.render.raster_numba import NumbaRasterizer

        return NumbaRasterizer()
    from dialogbuild.render.raster_reference import ReferenceRasterizer

    return ReferenceRasterizer()
