"""From a setting's name and options to a `Setting` with every choice made."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from headstart.errors import StudyError, UnknownNameError
from headstart.spec import LinearSetting

__all__ = ["NAMES", "find"]

NAMES = ("linear",)
# What each published protocol chooses where it differs from the fields' defaults.
PROTOCOLS: Mapping[str, Mapping[str, Any]] = {
    "kornblith2019": {},
    "simclr2020": {"resize": "center-crop"},
}


def find(name: str, *, protocol: str = "kornblith2019", **options: Any) -> LinearSetting:
    """Make a setting: a protocol's choices, with `options` on top.

    A setting that departs from its protocol says so in its name: ``kornblith2019 (resize)``.

    Raises
    ------
    UnknownNameError
        No such setting, protocol or option.
    StudyError
        An option with a value that it cannot have.
    """
    # A study file may hold anything here.
    if not isinstance(name, str) or name not in NAMES:
        raise UnknownNameError("setting", str(name), NAMES)
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        raise UnknownNameError("protocol", str(protocol), PROTOCOLS)
    allowed = LinearSetting.model_fields.keys() - {"name", "protocol", "implementation"}
    for option in options:
        if option not in allowed:
            raise UnknownNameError(f"option of setting '{name}'", option, allowed)
    try:
        preset = LinearSetting(protocol=protocol, **PROTOCOLS[protocol])
        chosen = LinearSetting(**{**preset.model_dump(), **options})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StudyError(
            f"setting '{name}': {where} = {first['input']!r} will not do: {first['msg']}"
        ) from error
    departs = [
        option
        for option in sorted(allowed - {"precision"})
        if getattr(chosen, option) != getattr(preset, option)
    ]
    if departs:
        chosen = chosen.model_copy(update={"protocol": f"{protocol} ({', '.join(departs)})"})
    return chosen
