"""Variables of MATLAB files."""

import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.datasets.archives.lists import FRESH_COPY, read_content
from headstart.errors import DatasetError

__all__ = ["read_variable"]


def read_variable(path: Path, name: str) -> npt.NDArray[Any]:
    """Read one variable as a vector: numbers, text (a cell array), or records (a struct array).

    Raises
    ------
    DatasetMissingError
        No such file.
    DatasetError
        Not a MATLAB file, or one without this variable.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    content = BytesIO(read_content(path))
    try:
        variables = loadmat(content, squeeze_me=True, variable_names=[name])
    # What scipy's readers raise on other content is not one type.
    except (
        MatReadError,
        NotImplementedError,
        LookupError,
        OSError,
        TypeError,
        ValueError,
        zlib.error,
    ) as error:
        raise DatasetError(f"{path} is not a MATLAB file ({error}): {FRESH_COPY}") from error
    if name not in variables:
        raise DatasetError(f"{path} has no variable '{name}': {FRESH_COPY}")
    return np.atleast_1d(np.asarray(variables[name])).ravel()
