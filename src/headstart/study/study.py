"""What a study asks for, in Python or as a file."""

import tomllib
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any

import tomli_w
from pydantic import Field, PositiveInt, ValidationError, model_validator

from headstart import datasets, methods, models
from headstart.datasets.names import DatasetName
from headstart.errors import StudyError, UnknownNameError
from headstart.executors import executor_of
from headstart.files import storage_errors
from headstart.functions import is_function
from headstart.methods.finetune import check_budget
from headstart.registry import METHODS
from headstart.spec import Dataset, Setting, TrainingSetting, Trial
from headstart.spec.noun import Noun
from headstart.spec.setting import Precision
from headstart.store import ResultStore
from headstart.study.run import StudyRun, run_study
from headstart.workspace import Device, Watcher, Workspace

__all__ = ["SHIPPED", "Study", "setting_options"]

# Studies that headstart brings.
SHIPPED = ("kornblith2019", "kornblith2019-linear")

Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Study(Noun):
    """Models x datasets x settings x seeds.

    Parameters
    ----------
    models
        Names of the catalogue (``headstart models``).
    datasets
        Names of the catalogue (``headstart datasets``), or folders with train, validation and
        test folders of class folders.
    settings
        Names, with a protocol behind a colon if it is not the study's (``"finetune:quick"``), or
        tables with a name and options: ``{"name": "linear", "resize": "center-crop"}``. The
        `steps` of a table may be a list.
    seeds
        Each draws its own subset; more than one needs a `limit`, `examples_per_class`, or a setting
        that trains.
    steps
        Each setting that trains is measured with each of these numbers of steps, a search and a
        training of its own; a table with its own `steps` keeps them.
    examples_per_class
        Each trial is measured with each of these numbers of training images a class, of those that
        a dataset's smallest class has.
    limit
        At most so many images of each split, class-balanced.
    precision
        Of the network's arithmetic: ``"fp32"`` or ``"bf16"``.
    skip_broken
        Leave out images that do not decode, and count them.

    Raises
    ------
    StudyError
        From every way to make one: an unknown key, a list that is empty, a value of a wrong type.

    Examples
    --------
    >>> study = Study(models=["efficientnet_lite0"], datasets=["digits"])
    >>> [trial.title for trial in study.trials()]
    ['efficientnet_lite0, digits, linear']
    """

    models: Annotated[tuple[str, ...], Field(min_length=1)]
    datasets: Annotated[tuple[str, ...], Field(min_length=1)]
    settings: Annotated[tuple[str | dict[str, Any], ...], Field(min_length=1)] = ("linear",)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    steps: tuple[PositiveInt, ...] = ()
    examples_per_class: tuple[PositiveInt, ...] = ()
    limit: Annotated[int, Field(gt=0)] | None = None
    precision: Precision = "fp32"
    skip_broken: bool = False

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise StudyError(_in_words(error)) from error

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, fields: dict[str, Any]) -> dict[str, Any]:
        for key in fields:
            if key not in cls.model_fields:
                raise UnknownNameError("study key", key, cls.model_fields)
        return fields

    @classmethod
    def from_toml(cls, path: Path, *, trust: bool = False) -> "Study":
        """Read a study file.

        Parameters
        ----------
        path
            The file; or one that headstart brings (`SHIPPED`), by its name with or without
            ``.toml`` and ``studies/``.
        trust
            Whether models and datasets may be functions: their author's code runs.

        Raises
        ------
        StudyError
            Not there, not TOML, or not a study, or one that would run code; the file is named.
        """
        with storage_errors(path, reading=True):
            text = _found(path).read_bytes()
        try:
            study = cls(**tomllib.loads(text.decode()))
            if not trust:
                study._refuse_code()
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise StudyError(f"study file {path} is not TOML: {error}") from error
        except StudyError as error:
            raise StudyError(f"study file {path}: {error}") from error
        return study

    def to_toml(self) -> str:
        """Write the study as a file that `from_toml` reads back."""
        fields = self.model_dump(mode="json", exclude_none=True)
        return tomli_w.dumps({name: value for name, value in fields.items() if value != []})

    def trials(self, watcher: Watcher | None = None) -> list[Trial]:
        """Expand to trials, dataset by dataset, so that each dataset is read once.

        Parameters
        ----------
        watcher
            Told when a dataset is fetched or looked through.

        Raises
        ------
        UnknownNameError, StudyError, DatasetError
        TrainingError
            Too few steps, or images, for a setting that trains.
        """
        chosen_models = [models.find(name) for name in self.models]
        chosen_settings = [one for setting in self.settings for one in self.variants(setting)]
        if self.steps and not any(isinstance(one, TrainingSetting) for one in chosen_settings):
            raise StudyError(
                "steps are those of a setting that trains, and the study names none: add finetune "
                "or scratch"
            )
        chosen_datasets = [
            datasets.find(name, limit=self.limit, skip_broken=self.skip_broken, watcher=watcher)
            for name in self.datasets
        ]
        trials = [
            Trial(model=model, dataset=sized, setting=setting, seed=seed)
            for dataset in chosen_datasets
            for sized in self.sized(dataset)
            for seed in self.seeds
            for model in chosen_models
            for setting in chosen_settings
        ]
        self.check_budgets(chosen_datasets)
        if len(set(self.seeds)) > 1 and not all(trial.uses_seed for trial in trials):
            raise StudyError(
                f"seeds {', '.join(map(str, self.seeds))} would all give the same numbers: the "
                "linear setting on whole datasets has nothing random; give one seed, or a limit"
            )
        # What is named twice is measured once.
        return list({trial.key: trial for trial in trials}.values())

    def run(
        self,
        store: Path | str,
        *,
        device: Device = "auto",
        watcher: Watcher | None = None,
        trust: bool = False,
        workers: int = 0,
        whole_trials: bool = False,
        keep_models: Path | str | None = None,
    ) -> StudyRun:
        """Measure the trials that `store` does not hold yet.

        Parameters
        ----------
        store
            Database file, or a folder for it; made if it is not there.
        device
            ``"auto"``, ``"cpu"`` or ``"cuda"``.
        watcher
            Told what goes on.
        trust
            Whether a file of weights that holds more than tensors may execute what it says.
        workers
            Processes that train candidates beside each other, one a GPU in turn where there are
            some; 0 trains one after the other in this process.
        whole_trials
            Whether a worker takes a trial from beginning to end, which is the better share of many
            short trials; else workers share the candidates of one trial.
        keep_models
            Folder for the networks that trials end with: each gets one of its own there, named by
            the beginning of the trial's key, with weights, facts and a card of its numbers.

        Raises
        ------
        HeadstartError
            What can be found before anything runs; a trial that fails later does not stop the
            others, it is in the run's `failures`.
        """
        trials = self.trials(watcher)
        workspace = Workspace(
            device=device,
            watcher=watcher or Watcher(),
            trust=trust,
            keep=Path(keep_models) if keep_models else None,
        )
        results = ResultStore(store, create=True)
        with executor_of(workers, device) as executor:
            return run_study(trials, results, workspace, executor, whole_trials=whole_trials)

    def _refuse_code(self) -> None:
        running = [f"model '{name}'" for name in self.models if models.runs_code(name)]
        stems = {name: DatasetName.parse(name).stem for name in self.datasets}
        running += [f"dataset '{name}'" for name, stem in stems.items() if is_function(stem)]
        if running:
            raise StudyError(
                f"{running[0]} runs a file: whatever its author wrote would be executed. If you "
                "trust this study and that file, say --trust"
            )

    def variants(self, setting: str | dict[str, Any]) -> tuple[Setting, ...]:
        """Make one of the settings that the study names, one for each number of steps."""
        options = {"precision": self.precision, **setting_options(setting)}
        if "name" not in options:
            raise StudyError(f"setting {setting} has no name: known are {', '.join(METHODS.names)}")
        own = _budgets(options)
        budgets = own or (() if "steps" in options else self.steps)
        one = methods.find(**{**options, **({"steps": own[0]} if own else {})})
        if not budgets or not isinstance(one, TrainingSetting):
            return (one,)
        if one.rungs:
            raise StudyError(
                f"setting '{one.name}': protocol {one.protocol} searches with steps of its own: "
                "for several take one that searches by grid, kornblith2019 or quick"
            )
        return tuple(methods.find(**{**options, "steps": n}) for n in dict.fromkeys(budgets))

    def sized(self, dataset: Dataset) -> tuple[Dataset, ...]:
        """Give a dataset with each number of images a class that its smallest class has."""
        if not self.examples_per_class:
            return (dataset,)
        most = dataset.most_per_class
        sizes = [n for n in dict.fromkeys(self.examples_per_class) if n <= most]
        if not sizes:
            raise StudyError(
                f"the smallest class of dataset '{dataset.name}' has {most:,} training images: "
                "give examples_per_class of no more"
            )
        return tuple(dataset.model_copy(update={"examples_per_class": n}) for n in sizes)

    def check_budgets(self, found: list[Dataset]) -> None:
        """Raise TrainingError for what cannot train.

        Where steps are studied, they may be less than an epoch; where images are, a batch has them
        several times.
        """
        for setting in self.settings:
            swept = bool(_budgets(setting_options(setting)) or self.steps)
            for one in self.variants(setting):
                if isinstance(one, TrainingSetting) and not self.examples_per_class:
                    for dataset in found:
                        n_images = dataset.used_sizes.train
                        check_budget(one, n_images, whole_epoch=not swept)


def setting_options(setting: str | dict[str, Any]) -> dict[str, Any]:
    """Give a setting's options, of ``NAME`` and ``NAME:PROTOCOL`` too."""
    if not isinstance(setting, str):
        return dict(setting)
    name, colon, protocol = setting.partition(":")
    return {"name": name, **({"protocol": protocol} if colon else {})}


def _budgets(options: dict[str, Any]) -> tuple[int, ...]:
    """Give the several numbers of steps that a setting names."""
    steps = options.get("steps")
    return tuple(steps) if isinstance(steps, list | tuple) else ()


def _found(path: Path) -> Path | Traversable:
    """Give the file, or of that name the one that headstart brings."""
    name = path.name.removesuffix(".toml")
    if path.is_dir():
        raise StudyError(
            f"study '{path}' is a folder: expected a study file (TOML); --datasets "
            "takes folders of images"
        )
    if path.exists() or str(path.parent) not in (".", "studies"):
        return path
    if name in SHIPPED:
        return files("headstart.study").joinpath("studies", f"{name}.toml")
    if path.suffix != ".toml":
        raise UnknownNameError("study", str(path), SHIPPED)
    return path


def _in_words(error: ValidationError) -> str:
    first = error.errors()[0]
    key = str(first["loc"][0]) if first["loc"] else "study"
    if first["type"] == "tuple_type":
        return f"study key '{key}' = {first['input']!r} will not do: expected a list, [...]"
    if first["type"] == "missing" or first["type"] == "too_short":
        return f"the study names no {key}: give at least one"
    return f"study key '{key}' = {first['input']!r} will not do: {first['msg'].lower()}"
