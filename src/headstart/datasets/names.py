"""What a dataset's name says: ``STEM[?OPTION=VALUE&...]``."""

from dataclasses import dataclass
from urllib.parse import parse_qsl

from headstart.errors import StudyError

__all__ = ["DatasetName"]


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
        By name. Which there are, the source says.
    """

    full: str
    stem: str
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> "DatasetName":
        """Take a name apart; StudyError where options are not ``?option=value``.

        Examples
        --------
        >>> DatasetName.parse("photos.csv?label=species&split_seed=3").options
        {'label': 'species', 'split_seed': '3'}
        """
        stem, mark, query = text.partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        if mark and not options:
            raise StudyError(f"dataset '{text}': expected ?option=value, found '?{query}'")
        return cls(text, stem, options)
