"""Registries of plugins: headstart's own parts, and those of installed packages.

A package offers a part by an entry point of the group ``headstart.KIND``::

    [project.entry-points."headstart.method"]
    knn = "their_package.knn:KNN"

Own parts go the same way: they are named here by their place, and imported when they are asked for.
Each folder of `headstart.contrib` with a file ``entry_points.txt``, of the same form as that of an
installed package, is a plug-in that is always installed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from headstart.errors import HeadstartError, UnknownNameError

__all__ = [
    "COMMANDS",
    "DATASET_SOURCES",
    "EXECUTORS",
    "METHODS",
    "MODEL_SOURCES",
    "PREDICTORS",
    "REGISTRIES",
    "REPORTERS",
    "Plugin",
    "PluginError",
    "Registry",
]

Part = TypeVar("Part")
OWN = "headstart"
CONTRIB = Path(__file__).parent / "contrib"


class PluginError(HeadstartError):
    """A part of an installed package that cannot be used."""

    code = "plugin"


@dataclass(frozen=True)
class Plugin:
    """A part that can be had, not imported yet.

    `place` is ``module:attribute``; `package` the distribution that brings it, with its version:
    ``headstart`` for its own, and ``headstart.contrib.NAME``.
    """

    kind: str
    name: str
    place: str
    package: str = OWN


class Registry(Mapping[str, Part], Generic[Part]):
    """All parts of one kind by name; each is imported when it is first asked for.

    Parameters
    ----------
    kind
        Its entry points are in the group ``headstart.KIND``.
    own
        Name -> ``module:attribute`` of the parts that headstart brings. A class is called without
        arguments; what it makes is the part.
    """

    def __init__(self, kind: str, own: Mapping[str, str]) -> None:
        self.kind = kind
        self._own = dict(own)
        self._loaded: dict[str, Part] = {}

    @cached_property
    def plugins(self) -> dict[str, Plugin]:
        """All parts by name, own ones first.

        Raises
        ------
        PluginError
            Two parts have one name (code ``plugin.name_taken``).
        """
        found = {name: Plugin(self.kind, name, place) for name, place in self._own.items()}
        for package, entry in _entry_points(f"headstart.{self.kind}"):
            plugin = Plugin(self.kind, entry.name, entry.value, package)
            if entry.name in found:
                raise PluginError(
                    f"two packages bring a {self.kind} '{entry.name}': "
                    f"{found[entry.name].package} and {plugin.package}; uninstall one",
                    code="plugin.name_taken",
                    kind=self.kind,
                    name=entry.name,
                )
            found[entry.name] = plugin
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parts; nothing is imported."""
        return tuple(self.plugins)

    def __contains__(self, name: object) -> bool:
        return name in self.plugins

    def __iter__(self) -> Iterator[str]:
        return iter(self.plugins)

    def __len__(self) -> int:
        return len(self.plugins)

    def __getitem__(self, name: str) -> Part:
        """Return a part, imported.

        Raises
        ------
        UnknownNameError
            There is none of this name; the nearest are named.
        PluginError
            It cannot be imported (code ``plugin.broken``).
        """
        if name in self._loaded:
            return self._loaded[name]
        if name not in self.plugins:
            raise UnknownNameError(self.kind, name, self.plugins)
        plugin = self.plugins[name]
        module, _, attribute = plugin.place.partition(":")
        try:
            part: Any = getattr(import_module(module), attribute)
            if isinstance(part, type):
                part = part()
        # Whatever a stranger's module raises when it is imported; our own must not be hidden.
        except Exception as error:
            if plugin.package.split(".")[0] == OWN:
                raise
            raise PluginError(
                f"{self.kind} '{name}' of {plugin.package} cannot be imported from {plugin.place} "
                f"({type(error).__name__}: {error}): update that package or uninstall it",
                code="plugin.broken",
                kind=self.kind,
                name=name,
                package=plugin.package,
            ) from error
        self._loaded[name] = part
        return self._loaded[name]


def _entry_points(group: str) -> Iterator[tuple[str, EntryPoint]]:
    """Yield what packages offer, and the package of each: those of contrib, then the installed."""
    for file in sorted(CONTRIB.glob("*/entry_points.txt")):
        for entry in Distribution.at(file.parent).entry_points.select(group=group):
            yield f"{OWN}.contrib.{file.parent.name}", entry
    for entry in sorted(entry_points(group=group), key=lambda one: one.name):
        dist = entry.dist
        yield f"{dist.name} {dist.version}" if dist else "an unknown package", entry


# How to transfer: `headstart.methods.Method`.
METHODS: Registry[Any] = Registry(
    "method",
    {
        "linear": "headstart.methods.linear:LINEAR",
        "knn": "headstart.methods.knn:KNN",
        "finetune": "headstart.methods.finetune:FINETUNE",
        "scratch": "headstart.methods.finetune:SCRATCH",
    },
)
# Where networks come from: `headstart.models.model_source.Source`.
MODEL_SOURCES: Registry[Any] = Registry(
    "model_source",
    {
        "embedded": "headstart.models.sources.timm_networks:EmbeddedNetworks",
        "timm": "headstart.models.sources.timm_networks:Timm",
        "torchvision": "headstart.models.sources.torchvision_networks:Torchvision",
        "pytorchcv": "headstart.models.sources.pytorchcv_networks:Pytorchcv",
        "hf": "headstart.models.sources.hf_networks:HuggingFace",
        "function": "headstart.models.sources.function_networks:Function",
    },
)
# Where datasets come from: `headstart.datasets.sources.dataset_source.Source`. A name of a source's
# catalogue is that source's; else they are asked in this order whether it is theirs, those of other
# packages last.
DATASET_SOURCES: Registry[Any] = Registry(
    "dataset_source",
    {
        "embedded": "headstart.datasets.sources.embedded:EmbeddedSource",
        "study": "headstart.datasets.sources.study_datasets:StudySource",
        "hf": "headstart.datasets.sources.hf:HubSource",
        "torchvision": "headstart.datasets.sources.torchvision:TorchvisionSource",
        "function": "headstart.datasets.sources.function:FunctionSource",
        "table": "headstart.datasets.sources.table:TableSource",
        "folder": "headstart.datasets.sources.folder:FolderSource",
    },
)
# Commands of `headstart`: functions with typer's annotations. Their modules are imported by
# `headstart --help`, so that what is slow to import belongs inside the function.
COMMANDS: Registry[Any] = Registry("command", {})
# Where functions run: `headstart.executors.ExecutorFactory`.
EXECUTORS: Registry[Any] = Registry(
    "executor",
    {
        "processes": "headstart.executors.processes:open_processes",
        "ray": "headstart.executors.ray_cluster:open_ray",
        "slurm": "headstart.executors.slurm:open_slurm",
    },
)
# Scores of features that may predict transfer: `headstart.predictors.TransferScore`.
PREDICTORS: Registry[Any] = Registry(
    "predictor",
    {
        "logme": "headstart.predictors.simple_classifiers:LogME",
        "leep": "headstart.predictors.simple_classifiers:LEEP",
        "nleep": "headstart.predictors.simple_classifiers:NLEEP",
        "nce": "headstart.predictors.simple_classifiers:NCE",
        "h_score": "headstart.predictors.class_separation:HScore",
        "transrate": "headstart.predictors.class_separation:TransRate",
        "gbc": "headstart.predictors.class_separation:GBC",
        "parc": "headstart.predictors.class_separation:PARC",
        "ncti": "headstart.predictors.class_separation:NCTI",
        "sfda": "headstart.predictors.simple_classifiers:SFDA",
        "knn": "headstart.predictors.simple_classifiers:NearestNeighbours",
        "ridge": "headstart.predictors.simple_classifiers:RidgeProbe",
    },
)
# Output formats of an analysis: `headstart.report.Reporter`; the first of a suffix wins.
REPORTERS: Registry[Any] = Registry(
    "reporter",
    {
        "html": "headstart.report.report_page:HtmlPage",
        "latex": "headstart.report.latex:LatexTables",
        "csv": "headstart.report.reporter:CsvTable",
        "json": "headstart.report.reporter:JsonTables",
        "card": "headstart.report.results_card:ResultsCard",
        "notebook": "headstart.report.results_card:NotebookSummary",
    },
)
REGISTRIES: tuple[Registry[Any], ...] = (
    METHODS, EXECUTORS, MODEL_SOURCES, DATASET_SOURCES, PREDICTORS, REPORTERS, COMMANDS,
)  # fmt: skip
