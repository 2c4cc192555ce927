"""The definition of a study, in Python or as a file."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from numbers import Integral
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import tomli_w
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from headstart import datasets, methods, models
from headstart.artifacts import ArtifactFolder
from headstart.context import ProgressReporter, RunContext
from headstart.datasets.dataset_name import DatasetName
from headstart.devices import Device
from headstart.errors import StudyError, UnknownNameError
from headstart.executors import executor_of
from headstart.files import read_toml, storage_errors
from headstart.functions import is_function
from headstart.models.model_catalogue import FULL_NAME
from headstart.registry import METHODS
from headstart.spec import Dataset, Model, Setting, Trial, digest
from headstart.spec.dataset import SPLITS_BY_SEED
from headstart.spec.formatting import html_table, listed
from headstart.spec.noun import Noun, first_invalid
from headstart.spec.setting import Precision
from headstart.store import ResultStore
from headstart.study.run import StudyRun, run_study
from headstart.study.workload import expected_work

__all__ = ["SHIPPED", "Study", "setting_options"]

# Studies that headstart brings.
SHIPPED = ("kornblith2019", "kornblith2019-linear")


def _whole(value: Any) -> int:
    """Return an integer of any kind as a plain one; refuse True, 1.0 and '1'."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError("not an integer")
    return int(value)


Seed = Annotated[int, BeforeValidator(_whole), Field(ge=0, lt=2**32)]
Count = Annotated[int, BeforeValidator(_whole), Field(gt=0)]
Named = TypeVar("Named")

# What each key of a study may be.
EXPECTED: Mapping[str, str] = MappingProxyType(
    {
        "models": 'a list of names, ["a", "b"]',
        "datasets": 'a list of names, ["a", "b"]',
        "settings": 'a list of names or tables, ["linear", {name = "finetune", steps = 100}]',
        "seeds": "a list of integers from 0 to 4294967295, [0, 1, 2]",
        "steps": "a list of integers from 1, [10, 100]",
        "examples_per_class": "a list of integers from 1, [1, 10]",
        "limit": "an integer from 1",
        "precision": "fp32 or bf16",
        "skip_broken": "true or false",
    }
)


class Study(Noun):
    """Models x datasets x settings x seeds.

    Parameters
    ----------
    models
        Names of the catalogue (``headstart models``), or of a shipped study: all of its models.
    datasets
        Names of the catalogue (``headstart datasets``), of a shipped study (all of its datasets),
        or of the other sources: folders, tables, hub repositories. With ``?split_seed=seed``
        behind the name each seed of the study draws the splits of this dataset anew.
    settings
        Names, with a protocol behind a colon if it is not the study's (``"finetune:quick"``), or
        tables with a name and options: ``{"name": "linear", "resize": "center-crop"}``. The
        `steps` of a table may be a list.
    seeds
        Each draws its own subset; more than one needs a `limit`, `examples_per_class`, a setting
        that trains, or a dataset whose splits it draws. A number that is given twice counts once.
    steps
        Each setting that trains is measured with each of these numbers of steps, a search and a
        training of its own; a table with its own `steps` keeps them.
    examples_per_class
        Each trial is measured with each of these numbers of training images per class that a
        dataset's smallest class has.
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
    steps: tuple[Count, ...] = ()
    examples_per_class: tuple[Count, ...] = ()
    limit: Count | None = None
    precision: Precision = "fp32"
    skip_broken: bool = False

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise _invalid(error) from error

    def __repr__(self) -> str:
        """Count models, datasets, settings and seeds; name those that are few."""
        return f"Study({'; '.join(f'{name}: {text}' for name, text in self._described())})"

    def _repr_html_(self) -> str:
        """Return what is measured as a table, for a notebook."""
        return html_table("Study", (), self._described())

    def _described(self) -> list[tuple[str, str]]:
        settings = list(map(setting_name, self.settings))
        parts = (("models", self.models), ("datasets", self.datasets), ("settings", settings),
                 ("seeds", self.seeds), ("steps", self.steps),
                 ("examples per class", self.examples_per_class))  # fmt: skip
        rows = [(name, listed([str(value) for value in of])) for name, of in parts if of]
        return rows + ([("limit", str(self.limit))] if self.limit else [])

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, fields: dict[str, Any]) -> dict[str, Any]:
        for key in fields:
            if key not in cls.model_fields:
                raise UnknownNameError("study key", str(key), cls.model_fields)
        groups = {
            name: _with_groups(name, fields[name])
            for name in ("models", "datasets")
            if isinstance(fields.get(name), list | tuple)
        }
        return {**fields, **groups}

    @classmethod
    def from_toml(
        cls, path: Path, *, trust: bool = False, replaced: Mapping[str, Any] | None = None
    ) -> "Study":
        """Read a study file.

        Parameters
        ----------
        path
            The file; or one that headstart brings (`SHIPPED`), by its name with or without
            ``.toml`` and ``studies/``.
        trust
            Whether models and datasets may be functions: their author's code runs.
        replaced
            Keys with values that count in place of the file's.

        Raises
        ------
        StudyError
            Not there, not TOML, or not a study, or one that would run code; the file is named.
        """
        with storage_errors(path, reading=True):
            content = _found(path).read_bytes()
        fields = read_toml(content, f"study file {path}", StudyError)
        changes = dict(replaced or {})
        try:
            study = cls(**{**fields, **changes})
            for setting in study.settings:
                # Here, since the message names the file.
                study.variants(setting)
            if not trust:
                study._refuse_code({"models", "datasets"} - changes.keys())
        except StudyError as error:
            if changes and error.values.get("name") in changes:
                raise
            text = f"study file {path}: {error}"
            raise StudyError(text, code=error.code, **error.values) from error
        return study

    def to_toml(self) -> str:
        """Write the study as a file that `from_toml` reads back."""
        fields = self.model_dump(mode="json", exclude_none=True)
        return tomli_w.dumps({name: value for name, value in fields.items() if value != []})

    def trials(self, reporter: ProgressReporter | None = None) -> list[Trial]:
        """Expand to trials, dataset by dataset, so that each dataset is read once.

        Parameters
        ----------
        reporter
            Informed when a dataset is downloaded or checked.

        Raises
        ------
        UnknownNameError, StudyError, DatasetError
        TrainingError
            Too few steps, or images, for a setting that trains.
        """
        reporter, seeds = reporter or ProgressReporter(), tuple(dict.fromkeys(self.seeds))
        notes = repeated("seed", self.seeds)
        chosen_models, said = distinct("model", [(name, models.find(name)) for name in self.models])
        _check_names(chosen_models)
        notes += said
        chosen_settings = self.chosen_settings(notes)
        found = [
            (name, which, self._dataset(seeded, reporter, name))
            for name in dict.fromkeys(self.datasets)
            for seeded, which in seeded_names(name, seeds)
        ]
        notes += repeated("dataset", self.datasets)
        _, said = distinct("dataset", [(name, dataset) for name, _, dataset in found])
        notes += said
        trials = [
            Trial(model=model, dataset=sized, setting=setting, seed=seed)
            for _, which, dataset in found
            for sized in self.sized(dataset)
            for seed in which
            for model in chosen_models
            for setting in chosen_settings
        ]
        self.check_budgets([dataset for _, _, dataset in found])
        drawn = [name for name in dict.fromkeys(self.datasets) if SPLITS_BY_SEED in name]
        notes += [f"{name}: seeds {', '.join(map(str, seeds))} draw its splits" for name in drawn]
        self.check_seeds(trials)
        for note in notes:
            reporter.note(note)
        # What is named twice is measured once.
        return list({trial.key: trial for trial in trials}.values())

    def chosen_settings(self, notes: list[str]) -> list[Setting]:
        """Make all settings with each number of steps; add a note for what is named twice.

        Raises
        ------
        UnknownNameError, StudyError
        """
        named = [(setting_name(each), one) for each in self.settings for one in self.variants(each)]
        chosen, said = distinct("setting", named)
        notes += said
        if self.steps and not any(one.grid for one in chosen):
            raise StudyError(
                "steps are those of a setting that trains, and the study names none: add finetune "
                "or scratch",
                code="study.steps_unused",
                steps=self.steps,
            )
        return chosen

    def check_seeds(self, trials: Iterable[Trial]) -> None:
        """Raise StudyError if several seeds would give the same number again."""
        seeds = dict.fromkeys(self.seeds)
        unused = [t for t in trials if not t.uses_seed and not t.dataset.splits_by_seed]
        if len(seeds) > 1 and unused:
            name = unused[0].dataset.name
            raise StudyError(
                f"seeds {', '.join(map(str, seeds))} would all give the same numbers: the linear "
                f"setting on whole datasets has nothing random; give one seed, a limit, or "
                f"{name}{'&' if '?' in name else '?'}{SPLITS_BY_SEED} to draw splits by seed",
                code="study.seeds_unused",
                seeds=tuple(seeds),
                dataset=name,
            )

    def _dataset(self, name: str, reporter: ProgressReporter, title: str) -> Dataset:
        """Find a dataset; one whose splits a seed draws has the same name for all seeds."""
        found = datasets.find(
            name, limit=self.limit, skip_broken=self.skip_broken, reporter=reporter
        )
        return by_seed(found) if SPLITS_BY_SEED in title else found

    def run(
        self,
        store: Path | str,
        *,
        device: Device = "auto",
        reporter: ProgressReporter | None = None,
        trust: bool = False,
        workers: int = 0,
        executor: str | None = None,
        executor_options: Mapping[str, Any] | None = None,
        keep_models: Path | str | None = None,
    ) -> StudyRun:
        """Measure the trials that `store` does not hold yet.

        Parameters
        ----------
        store
            Database file, a folder for it, or a URL (`ResultStore`); made if it is not there.
        device
            ``"auto"``, ``"cpu"`` or ``"cuda"``.
        reporter
            Informed of the progress.
        trust
            Whether code in pickled weights may be executed (unsafe).
        workers
            Number of worker processes, which measure candidates and score test images, one per GPU;
            0 measures one trial after the other in this process.
        executor
            Name of the executor that runs the workers (``headstart plugins``); processes on this
            machine by default.
        executor_options
            Options of the executor by name: ``address``, ``cpus_per_worker``, ...; None counts as
            omitted. ``verbose`` prints the messages of its library.
        keep_models
            Folder or URL for the final network of each trial: a folder named by the start of the
            trial's key, with weights, metadata and a model card.

        Raises
        ------
        HeadstartError
            For anything that can be checked before the run. A trial that fails later does not stop
            the others: it is listed in the run's `failures`.
        """
        results = ResultStore(store, create=True)
        # Before images are looked at, which may take long; a mistyped name leaves no folder.
        results.check_place()
        trials = self.trials(reporter)
        context = RunContext(
            device=device,
            reporter=reporter or ProgressReporter(),
            trust=trust,
            keep=ArtifactFolder(keep_models) if keep_models else None,
        )
        results = ResultStore(store, create=True)
        options = {**(executor_options or {}), "note": context.reporter.note}
        expected = partial(expected_work, trials, results, context)
        with executor_of(workers, device, executor, expected=expected, **options) as opened:
            return run_study(trials, results, context, opened)

    def _refuse_code(self, keys: Collection[str]) -> None:
        running = [f"model '{name}'" for name in self.models if models.runs_code(name)]
        # Any seed will do: a name is taken apart here.
        seeded = {name: name.replace(SPLITS_BY_SEED, "split_seed=0") for name in self.datasets}
        stems = {name: DatasetName.parse(one).stem for name, one in seeded.items()}
        functions = [f"dataset '{name}'" for name, stem in stems.items() if is_function(stem)]
        found = [*running * ("models" in keys), *functions * ("datasets" in keys)]
        if found:
            raise StudyError(
                f"{found[0]} runs a file: whatever its author wrote would be executed. If you "
                "trust this study and that file, pass --trust",
                code="study.untrusted",
                names=found,
            )

    def variants(self, setting: str | dict[str, Any]) -> tuple[Setting, ...]:
        """Make one of the settings that the study names, one for each number of steps."""
        options = {"precision": self.precision, **setting_options(setting)}
        if "name" not in options:
            raise StudyError(
                f"setting {setting} has no name: known are {', '.join(METHODS.names)}",
                code="study.setting_unnamed",
                setting=setting,
            )
        own = _budgets(options)
        budgets = own or (() if "steps" in options else self.steps)
        one = methods.find(**{**options, **({"steps": own[0]} if own else {})})
        if not budgets or one.grid is None:
            return (one,)
        if one.grid.rungs:
            raise StudyError(
                f"setting '{one.name}': protocol {one.protocol} searches with steps of its own: "
                "for several take one that searches by grid, kornblith2019 or quick",
                code="study.steps_of_protocol",
                setting=one.name,
                protocol=one.protocol,
            )
        return tuple(methods.find(**{**options, "steps": n}) for n in dict.fromkeys(budgets))

    def sized(self, dataset: Dataset) -> tuple[Dataset, ...]:
        """Return a dataset with each number of images per class that its smallest class has."""
        if not self.examples_per_class:
            return (dataset,)
        most = dataset.most_per_class
        sizes = [n for n in dict.fromkeys(self.examples_per_class) if n <= most]
        if not sizes:
            raise StudyError(
                f"the smallest class of dataset '{dataset.name}' has {most:,} training images: "
                f"expected examples_per_class from 1 to {most:,}",
                code="study.examples_too_many",
                dataset=dataset.name,
                most=most,
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
                for dataset in () if self.examples_per_class else found:
                    one.check_budget(dataset.used_sizes.train, whole_epoch=not swept)


def setting_options(setting: str | dict[str, Any]) -> dict[str, Any]:
    """Return a setting's options, of ``NAME`` and ``NAME:PROTOCOL`` too."""
    if not isinstance(setting, str):
        return dict(setting)
    name, colon, protocol = setting.partition(":")
    return {"name": name, **({"protocol": protocol} if colon else {})}


def _budgets(options: dict[str, Any]) -> tuple[int, ...]:
    """Return the several numbers of steps that a setting names."""
    steps = options.get("steps")
    return tuple(steps) if isinstance(steps, list | tuple) else ()


def _found(path: Path) -> Path | Traversable:
    """Return the file, or of that name the one that headstart brings."""
    name = path.name.removesuffix(".toml")
    if path.is_dir():
        raise StudyError(
            f"study '{path}' is a folder: expected a study file (TOML); --datasets "
            "takes folders of images",
            code="study.is_folder",
            path=str(path),
        )
    if path.exists():
        return path
    if str(path.parent) in (".", "studies"):
        if name in SHIPPED:
            return files("headstart.study").joinpath("studies", f"{name}.toml")
        if path.suffix != ".toml":
            raise UnknownNameError("study", str(path), SHIPPED)
    raise StudyError(
        f"no study file {path}: expected a file, or one of the shipped studies "
        f"{', '.join(SHIPPED)}",
        code="study.missing_file",
        path=str(path),
    )


def _check_names(chosen: list[Model]) -> None:
    """Raise StudyError if two networks have one name: results could not be distinguished.

    Training configurations of one network have its name, and are distinguished by theirs.
    """
    seen: dict[tuple[str, str | None], Model] = {}
    for model in chosen:
        other = seen.setdefault((model.name, model.tags.get("configuration")), model)
        if other.identity != model.identity:
            asked = [one.tags.get(FULL_NAME, one.name) for one in (other, model)]
            mark = "&" if "?" in asked[1] else "?"
            raise StudyError(
                f"models '{asked[0]}' and '{asked[1]}' are both called '{model.name}': give one "
                f"another name, for example '{asked[1]}{mark}name=OTHER'",
                code="study.name_taken",
                name=model.name,
                models=asked,
            )


def distinct(kind: str, named: Iterable[tuple[str, Named]]) -> tuple[list[Named], list[str]]:
    """Leave out what is the same under another name, and what is named twice.

    Returns
    -------
    tuple
        The first of each that are the same, and a line for each that was left out.
    """
    first: dict[str, tuple[str, Named]] = {}
    notes: list[str] = []
    for name, one in named:
        kept, _ = first.setdefault(_identity(one), (name, one))
        if kept != name:
            notes.append(f"{kind} {name} is the same as {kept}: measured once")
        elif first[_identity(one)][1] is not one:
            notes.append(f"{kind} {name} is named twice: measured once")
    return [one for _, one in first.values()], list(dict.fromkeys(notes))


def repeated(kind: str, names: Iterable[Any]) -> list[str]:
    """Return a line for each name that stands more than once."""
    every = list(names)
    return [
        f"{kind} {name} is named {every.count(name)} times: measured once"
        for name in dict.fromkeys(every)
        if every.count(name) > 1
    ]


def seeded_names(name: str, seeds: Iterable[int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield a dataset's name with each seed that draws its splits, and the seeds that go with it.

    Examples
    --------
    >>> list(seeded_names("photos", (0, 1)))
    [('photos', (0, 1))]
    >>> list(seeded_names("photos?split_seed=seed", (0, 1)))
    [('photos?split_seed=0', (0,)), ('photos?split_seed=1', (1,))]
    """
    if SPLITS_BY_SEED not in name:
        yield name, tuple(seeds)
        return
    for seed in seeds:
        yield name.replace(SPLITS_BY_SEED, f"split_seed={seed}"), (seed,)


def by_seed(dataset: Dataset) -> Dataset:
    """Return a dataset under the name that it has for every seed that draws its splits."""
    name = dataset.name.replace(f"split_seed={dataset.split_seed}", SPLITS_BY_SEED)
    return dataset.model_copy(update={"name": name})


def _identity(one: Any) -> str:
    """Digest of what makes a thing another one: configurations of a model differ."""
    if isinstance(one, Model):
        return digest({"model": one.identity, "configuration": one.tags.get("configuration")})
    # Many kinds of nouns: each has an identity.
    return digest(dict(one.identity))


def setting_name(setting: str | dict[str, Any]) -> str:
    """Return the name of a setting, with its protocol where the study writes it behind a colon."""
    return setting if isinstance(setting, str) else str(setting.get("name"))


def _with_groups(key: str, names: Iterable[Any]) -> tuple[Any, ...]:
    """Put the models or datasets of a shipped study in the place of its name."""
    every: list[Any] = []
    for name in names:
        if name in SHIPPED:
            content = files("headstart.study").joinpath("studies", f"{name}.toml").read_bytes()
            every += read_toml(content, f"study {name}", StudyError)[key]
        elif isinstance(name, str) and name.partition("?")[0] in SHIPPED:
            stem = name.partition("?")[0]
            raise StudyError(
                f"{key} '{name}': {stem} stands for all {key} of a study and takes no options: "
                f"pass {stem} alone, or name each with its options",
                code="study.group_options",
                name=key,
                value=name,
            )
        else:
            every.append(name)
    return tuple(every)


def _invalid(error: ValidationError) -> StudyError:
    """State in one line which key is wrong, and what was expected."""
    found = first_invalid(error)
    key = str(found.place[0]) if found.place else "study"
    if found.kind == "missing" or (found.kind == "too_short" and len(found.place) == 1):
        return StudyError(
            f"the study names no {key}: expected at least one", code="study.missing", name=key
        )
    expected = EXPECTED.get(key, found.expected)
    return StudyError(
        f"invalid {key} {found.shown}: expected {expected}",
        code="study.value",
        name=key,
        value=found.shown,
        expected=expected,
    )
