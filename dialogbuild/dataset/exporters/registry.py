"""All export formats by name, and their options from text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from dialogbuild.dataset.exporters import artalk, dualtalk, huggingface, rttm, unils, vhap, webdataset
from dialogbuild.dataset.exporters.job import Format, Options
from dialogbuild.errors import ConfigError

FORMATS: Final[Mapping[str, Format]] = {
    module.FORMAT.name: module.FORMAT for module in (dualtalk, unils, artalk, vhap, huggingface, webdataset, rttm)
}
_COMMON: Final = {f.name for f in fields(Options)}
_TRUTH: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def find(name: str) -> Format:
    """The format of that name.

    Raises:
        ConfigError: there is none; the message lists them.
    """
    if name not in FORMATS:
        raise ConfigError(f"no format {name!r}; there are: {', '.join(FORMATS)}")
    return FORMATS[name]


def make_options(form: Format, settings: Sequence[str] = (), **common: Any) -> Options:
    """Options of a format from ``name=value`` texts; lists are separated by commas.

    Args:
        common: values of the options that every format has.

    Raises:
        ConfigError: an unknown name, or a value of the wrong type; the message says what there is.
    """
    own = {f.name: f.default for f in fields(form.options) if f.name not in _COMMON}
    values: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or name not in own:
            there = ", ".join(f"{k}={_text(v)}" for k, v in own.items()) or "none"
            raise ConfigError(f"{form.name} has no setting {text!r}; it has: {there}")
        values[name] = _parsed(form, name, value, own[name])
    return form.options(**common, **values)


def _parsed(form: Format, name: str, value: str, default: Any) -> Any:
    if isinstance(default, tuple):
        return tuple(v for v in value.split(",") if v)
    if isinstance(default, bool):
        if value.lower() not in _TRUTH:
            raise ConfigError(f"{form.name}: {name} is true or false, not {value!r}")
        return _TRUTH[value.lower()]
    if isinstance(default, int):
        if not value.isdecimal() or int(value) < 1:
            raise ConfigError(f"{form.name}: {name} is a whole number of 1 or more, not {value!r}")
        return int(value)
    return value


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def describe(form: Format) -> list[str]:
    """The format for people: who reads it, what it writes, its settings, what it loses."""
    settings = [f for f in fields(form.options) if f.name not in _COMMON]
    return [
        f"{form.name}: for {form.consumer}",
        f"  writes    {form.writes}",
        *(f"  --set     {f.name}={_text(f.default)}   {f.metadata['meaning']}" for f in settings),
        *(f"  lost      {sentence}" for sentence in form.lost),
    ]
