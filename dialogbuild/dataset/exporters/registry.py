"""All export formats by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dialogbuild.dataset.exporters import artalk, dualtalk, huggingface, rttm, unils, vhap, webdataset
from dialogbuild.dataset.exporters.job import Format
from dialogbuild.errors import ConfigError

FORMATS: Final[Mapping[str, Format]] = {
    module.FORMAT.name: module.FORMAT for module in (dualtalk, unils, artalk, vhap, huggingface, webdataset, rttm)
}


def find(name: str) -> Format:
    """The format of that name.

    Raises:
        ConfigError: there is none; the message lists them.
    """
    if name not in FORMATS:
        raise ConfigError(f"no format {name!r}; there are: {', '.join(FORMATS)}")
    return FORMATS[name]
