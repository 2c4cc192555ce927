"""Names of datasets with their options: ``STEM[?OPTION=VALUE&...]``."""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args
from urllib.parse import parse_qsl, quote, urlencode

from headstart.errors import StudyError, UnknownNameError
from headstart.files import name_in_text, path_of
from headstart.spec import Dataset, Decoding, Metric

__all__ = ["OPTIONS", "DatasetName"]

# Those that all sources have; each source adds its own.
OPTIONS: Mapping[str, str] = {
    "metric": "top-1, mean-per-class or voc-map-11point, in place of the dataset's own",
    "split_seed": "of splits that are drawn, 0 unless given",
    "allow_missing": "yes: images that are listed may be gone",
    "decoding": "viewer, or torchvision: neither turned by EXIF nor on white where transparent",
    "max_pixels": "images of more count as broken; 100000000 unless given",
    "range": "LOW..HIGH: values that are black and white, of greyscale images of more than 8 bits, "
    "signed numbers or floating point",
}
METRICS = get_args(Metric)
LIKES = get_args(Decoding.model_fields["like"].annotation)
YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
AS_SHOWN = Decoding()
# What says where the images are says nothing of what they are.
PLACES = ("root",)


@dataclass(frozen=True)
class DatasetName:
    """A dataset's name in parts.

    Parameters
    ----------
    full
        As it was given.
    stem
        Without options: a name of the catalogue, a folder, a file, ``hf:user/name``.
    options
        Those of the source, by name.
    metric, split_seed, allow_missing, decoding
        Those that all sources have. `metric` is None where the dataset's own holds.
    """

    full: str = field(compare=False)
    stem: str
    options: dict[str, str] = field(default_factory=dict, hash=False)
    metric: Metric | None = None
    split_seed: int = 0
    allow_missing: bool = False
    decoding: Decoding = AS_SHOWN

    @classmethod
    def parse(cls, name: str | os.PathLike[str]) -> "DatasetName":
        """Take a name apart.

        Raises
        ------
        StudyError
            Neither text nor a path; options that are not ``?option=value``; a value that one of
            them cannot have.

        Examples
        --------
        >>> DatasetName.parse("photos.csv?label=species&split_seed=3").split_seed
        3
        """
        text = os.fspath(name) if isinstance(name, os.PathLike) else name
        if not isinstance(text, str):
            raise StudyError(
                f"invalid dataset {name!r:.60}: expected a name, or the path of a folder",
                code="dataset.name_kind",
                found=type(name).__name__,
            )
        # As text from here on: names go into records, tables and pages.
        text = text if _is_text(text) else name_in_text(text)
        stem, mark, query = _taken_apart(text)
        given = _pairs(query)
        options = dict(given)
        if twice := [name for name, n in Counter(name for name, _ in given).items() if n > 1]:
            raise StudyError(
                f"dataset '{text}': option {twice[0]} is given twice: give it once",
                code="dataset.option_twice",
                found=twice[0],
            )
        if mark and not options:
            raise StudyError(
                f"dataset '{text}': expected ?option=value, found '?{query}'",
                code="dataset.option_form",
                found=query,
            )
        metric: Any = options.get("metric")
        if metric is not None:
            _check_one_of(text, "metric", metric, METRICS)
        allow_missing = options.get("allow_missing", "no")
        _check_one_of(text, "allow_missing", allow_missing, YES)
        return cls(
            text,
            stem,
            {name: value for name, value in options.items() if name not in OPTIONS},
            metric=metric,
            split_seed=_number(text, "split_seed", options.get("split_seed", "0")),
            allow_missing=YES[allow_missing],
            decoding=_decoding(text, options),
        )

    @classmethod
    def of(cls, dataset: Dataset) -> "DatasetName":
        """Ask for a dataset that was found before."""
        return cls(
            dataset.name,
            dataset.location,
            dataset.options,
            dataset.metric,
            dataset.split_seed,
            dataset.allow_missing,
            dataset.decoding,
        )

    @staticmethod
    def again(dataset: Dataset) -> str:
        """Return a name that finds a dataset again, from any folder."""
        given = dict(_pairs(_taken_apart(dataset.name)[2]))
        given |= {name: dataset.options[name] for name in PLACES if name in dataset.options}
        return _with_options(dataset.location, given)

    def check(self, known: Mapping[str, str]) -> None:
        """Raise UnknownNameError for an option that neither all sources nor this one has."""
        for option in self.options:
            if option not in known:
                raise UnknownNameError(
                    f"option of dataset '{self.stem}'", option, {**OPTIONS, **known}
                )

    def refuse_split_seed(self) -> None:
        """Raise StudyError if a seed is given where no split is drawn by it."""
        if self.split_seed:
            raise StudyError(
                f"dataset '{self.full}': no split of it is drawn, so split_seed={self.split_seed} "
                "changes nothing: leave it out",
                code="dataset.option_unused",
                option="split_seed",
            )

    def refuse_decoding(self) -> None:
        """Raise StudyError if a decoding is given where images are no encoded files."""
        for option, usual in dict(AS_SHOWN).items():
            if getattr(self.decoding, option) != usual:
                name = "decoding" if option == "like" else option
                raise StudyError(
                    f"dataset '{self.full}': its images are not decoded from files, so "
                    f"{name}={getattr(self.decoding, option)} changes nothing: leave it out",
                    code="dataset.option_unused",
                    option=name,
                )

    def titled(self, title: str) -> str:
        """Add to a title what makes this dataset another one than its plain name."""
        given = _pairs(_taken_apart(self.full)[2])
        return _with_options(title, {name: value for name, value in given if name not in PLACES})


def _is_text(name: str) -> bool:
    """Whether a name is text: one from the command line may have bytes that are not UTF-8."""
    return not any("\udc80" <= character <= "\udcff" for character in name)


def _taken_apart(text: str) -> tuple[str, str, str]:
    """Return stem, question mark and options; a folder may have a question mark in its name."""
    if found := re.search(r"\?(?=[a-z_]+=)", text):
        return text[: found.start()], "?", text[found.end() :]
    return (text, "", "") if os.path.exists(path_of(text)) else text.partition("?")


def _pairs(query: str) -> list[tuple[str, str]]:
    # As in an address, but that + is no blank: people type these, and ``+`` joins splits.
    return parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)


def _with_options(name: str, options: Mapping[str, str]) -> str:
    return f"{name}?{urlencode(options, safe=',|/+ ', quote_via=quote)}" if options else name


def _check_one_of(text: str, option: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise _invalid(text, option, value, ", ".join(known))


def _number(text: str, option: str, value: str, lowest: int = 0) -> int:
    if not value.isdecimal() or int(value) < lowest:
        raise _invalid(text, option, value, f"a whole number from {lowest}")
    return int(value)


def _invalid(text: str, option: str, value: str, expected: str) -> StudyError:
    return StudyError(
        f"dataset '{text}': invalid {option}={value}: expected {expected}",
        code="dataset.option_invalid",
        option=option,
        found=value,
    )


def _decoding(text: str, options: Mapping[str, str]) -> Decoding:
    like: Any = options.get("decoding", AS_SHOWN.like)
    _check_one_of(text, "decoding", like, LIKES)
    limit = _number(text, "max_pixels", options.get("max_pixels", str(AS_SHOWN.max_pixels)), 1)
    span = _range(text, options["range"]) if "range" in options else None
    if span and like == "torchvision":
        raise StudyError(
            f"dataset '{text}': range= needs decoding=viewer: torchvision does not scale values",
            code="dataset.range",
        )
    return Decoding(like=like, max_pixels=limit, range=span)


def _range(text: str, value: str) -> tuple[float, float]:
    """Read ``LOW..HIGH``."""
    low, _, high = value.partition("..")
    try:
        span = float(low), float(high)
    except ValueError:
        span = math.nan, math.nan
    if not (math.isfinite(span[0]) and math.isfinite(span[1]) and span[0] < span[1]):
        raise StudyError(
            f"dataset '{text}': invalid range={value}: expected LOW..HIGH, for example 0..4095",
            code="dataset.range",
            value=value,
        )
    return span
