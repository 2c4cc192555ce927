"""What a model's name says: ``[SOURCE:]PATH[?OPTION=VALUE&...]``."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from unicodedata import category
from urllib.parse import parse_qsl

from headstart.errors import StudyError, UnknownNameError
from headstart.files import name_in_text

__all__ = ["ASKED", "GROUPING", "OPTIONS", "ModelName"]

# The tag that keeps a model's name as it was given, where results call it by another one.
ASKED = "asked"
# Options that say with which models results go together: results do not name them.
GROUPING: tuple[str, ...] = ("configuration", "family")
OPTIONS: Mapping[str, str] = {
    "weights": "random, or a file of weights",
    "seed": "of random weights, 0 unless given",
    "head": "path of the classifier among the submodules",
    "pool": "token or mean: how a transformer's tokens become one feature",
    "size": "of the input, in pixels",
    "interpolation": "bicubic, bilinear, lanczos, box, hamming or nearest",
    "mean": "per channel, three numbers separated by commas",
    "std": "per channel, three numbers separated by commas",
    "upstream": "top-1 accuracy on the upstream task, a proportion",
    "configuration": "how the upstream model was trained, in words: a factor in analyses",
    "arch": "of a checkpoint: the model whose weights it holds",
    "name": "what results call the model",
    "family": "models whose results go together in analyses",
    "part": "of a file of several networks: the one to take, by the prefix of its names",
}

CHANNELS = 3
# Of a side: larger ones are mistakes, and would take all memory.
MOST_PIXELS = 4096
SEEDS = 2**63


@dataclass(frozen=True)
class ModelName:
    """A model's name in parts.

    Parameters
    ----------
    full
        As it was given.
    stem
        Without options.
    options
        By name; all are in `OPTIONS`.
    """

    full: str
    stem: str
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> "ModelName":
        """Take a name apart; an option that there is not is an UnknownNameError.

        Examples
        --------
        >>> ModelName.parse("timm:resnet18?weights=random&seed=3").options
        {'weights': 'random', 'seed': '3'}
        """
        if any("\udc80" <= character <= "\udcff" for character in text):
            # It could be written into no record of a result.
            shown = name_in_text(text)
            raise StudyError(
                f"model '{shown}': its name or path is not UTF-8, or the locale is not: rename "
                "the file or folder, or set PYTHONUTF8=1",
                code="model.name_not_utf8",
                name=shown,
            )
        if _has_controls(text):
            raise StudyError(
                f"model {text!r}: its name holds a line break or another control character: "
                "remove it",
                code="model.name_invalid",
                name=text,
            )
        stem, mark, query = text.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        options = dict(pairs)
        if mark and not options:
            raise StudyError(f"model '{text}': expected ?option=value, found '?{query}'")
        for option, value in pairs:
            if option not in OPTIONS:
                raise UnknownNameError(f"option of model '{stem}'", option, OPTIONS)
            if options[option] != value:
                raise StudyError(
                    f"model '{text}': option {option} has two values, {value} and "
                    f"{options[option]}: pass one",
                    code="model.option_twice",
                    option=option,
                )
        _check_values(text, options)
        return cls(text, stem, options)

    @property
    def label(self) -> str:
        """What results call the model: its ``name=``, else what was given less what groups it.

        All training configurations of a network have one name.
        """
        if "name" in self.options:
            return self.options["name"]
        if "configuration" in self.options:
            return self.stem
        if "family" not in self.options:
            return self.full
        stem, _, query = self.full.partition("?")
        kept = [part for part in query.split("&") if part.partition("=")[0] not in GROUPING]
        return "?".join(filter(None, (stem, "&".join(kept))))


def _check_values(text: str, options: Mapping[str, str]) -> None:
    """Raise StudyError for an option whose value is not what it has to be, whatever the network."""
    expected = ""
    for option, value in options.items():
        if option in ("name", "family", "configuration"):
            good, expected = bool(value.strip()) and not _has_controls(value), "text"
        elif option in ("mean", "std"):
            positive = " positive" if option == "std" else ""
            good, expected = (
                _are_channels(value, positive=option == "std"),
                (f"three{positive} numbers separated by commas"),
            )
        elif option == "size":
            good = not value.isdigit() or int(value) <= MOST_PIXELS
            expected = f"at most {MOST_PIXELS:,} pixels"
        elif option == "seed":
            good = not value.isdigit() or int(value) < SEEDS
            expected = f"less than {SEEDS:,}"
        else:
            continue
        if not good:
            raise StudyError(
                f"model '{text}': invalid {option}={name_in_text(repr(value)[1:-1])}: expected "
                f"{expected}",
                code="model.option_invalid",
                option=option,
                found=value,
            )


def _has_controls(text: str) -> bool:
    """Whether a text holds what breaks a line or moves the cursor; other spaces may be in paths."""
    return any(category(character) in ("Cc", "Zl", "Zp") for character in text)


def _are_channels(value: str, *, positive: bool) -> bool:
    """Whether a text is three finite numbers."""
    try:
        numbers = [float(one) for one in value.split(",")]
    except ValueError:
        return False
    return len(numbers) == CHANNELS and all(
        math.isfinite(one) and (one > 0 or not positive) for one in numbers
    )
