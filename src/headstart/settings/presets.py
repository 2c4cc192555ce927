"""From a setting's name and options to a `Setting` with every choice made."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from headstart.errors import StudyError, UnknownNameError
from headstart.spec import AnySetting, FinetuneSetting, LinearSetting, ScratchSetting

__all__ = ["NAMES", "PROTOCOLS", "find"]

KINDS: Mapping[str, type[AnySetting]] = MappingProxyType(
    {"linear": LinearSetting, "finetune": FinetuneSetting, "scratch": ScratchSetting}
)
NAMES = tuple(KINDS)

# All candidates for short, the best quarter of them longer, four as long as the protocol wants.
HALVING = {"steps": 19_531, "search": "rungs", "rungs": ((56, 1_220), (14, 4_882), (4, 19_531))}
# All candidates for short, the best one as long as the protocol wants: the baseline of searches.
SHORT = {"steps": 19_531, "search": "rungs", "rungs": ((56, 1_220),)}
# Minutes on a processor, for a few hundred images.
QUICK = {"steps": 40, "batch_size": 32, "decays": (0.0, 1e-5)}

# What each protocol chooses where it differs from the fields' defaults, by setting.
PROTOCOLS: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "linear": {"kornblith2019": {}, "simclr2020": {"resize": "center-crop"}},
        "finetune": {
            "kornblith2019": {},
            "simclr2020": {"crops": ("central",)},
            "halving": HALVING,
            "short": SHORT,
            "quick": {**QUICK, "learning_rates": (0.001, 0.01, 0.1)},
        },
        "scratch": {
            "kornblith2019": {},
            "simclr2020": {
                "crops": ("central",),
                "steps": 40_000,
                "decays": tuple(float(f"{10 ** (-5 + i / 2):.12g}") for i in range(8)),
            },
            "halving": HALVING,
            "short": SHORT,
            "quick": {**QUICK, "learning_rates": (0.01, 0.1, 1.0)},
        },
    }
)


def find(name: str, *, protocol: str = "kornblith2019", **options: Any) -> AnySetting:
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
    if not isinstance(name, str) or name not in KINDS:
        raise UnknownNameError("setting", str(name), KINDS)
    if not isinstance(protocol, str) or protocol not in PROTOCOLS[name]:
        raise UnknownNameError(f"protocol of setting '{name}'", str(protocol), PROTOCOLS[name])
    kind = KINDS[name]
    allowed = kind.model_fields.keys() - {"name", "protocol", "implementation"}
    for option in options:
        if option not in allowed:
            known = allowed | {"protocol"}
            raise UnknownNameError(f"option of setting '{name}'", option, known)
    chosen: AnySetting
    try:
        preset = kind(protocol=protocol, **PROTOCOLS[name][protocol])
        chosen = kind(**{**preset.model_dump(), **options})
    except ValidationError as error:
        raise StudyError(f"setting '{name}': {_in_words(error)}") from error
    departs = [
        option
        for option in sorted(allowed - {"precision"})
        if getattr(chosen, option) != getattr(preset, option)
    ]
    if departs:
        chosen = chosen.model_copy(update={"protocol": f"{protocol} ({', '.join(departs)})"})
    return chosen


def _in_words(error: ValidationError) -> str:
    first = error.errors()[0]
    # What is wrong with several fields together has no place of its own.
    if not first["loc"]:
        return str(first["msg"]).removeprefix("Value error, ")
    where = ".".join(str(part) for part in first["loc"])
    return f"{where} = {first['input']!r} will not do: {first['msg']}"
