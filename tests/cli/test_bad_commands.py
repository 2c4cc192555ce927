"""Bad command lines and study files: one line on the error stream, exit code 2, a stable code."""

import os
import stat

import pytest

from conftest import MODEL, write_folder
from headstart.store import ResultStore
from refusals import ended

RUN = f"run --models {MODEL} --datasets digits --limit 100"
# A command line, what is made in the folder first, the code of the error, some of its values.
BAD = [
    # What typer would say in a form of its own.
    ("frobnicate", "command.command_unknown", {"name": "frobnicate"}),
    ("analyse kornblith2019", "command.command_unknown", {"near": ["analyze"]}),
    ("--version-of-all", "command.option_unknown", {"name": "--version-of-all"}),
    ("run --modles a", "command.option_unknown", {"name": "--modles"}),
    ("run --models", "command.value_missing", {"name": "--models"}),
    ("run a.toml b.toml", "command.usage", {}),
    ("run --trust=1", "command.value_unexpected", {"name": "--trust"}),
    ("run --store=", "command.value_empty", {"name": "--store"}),
    ("run -q -v", "command.conflict", {"option": "--quiet"}),
    ("-v run -q", "command.conflict", {"option": "--quiet"}),
    ("results --csv --json", "command.conflict", {"option": "--csv"}),
    ("results show --csv --json", "command.conflict", {"option": "--csv"}),
    ("cache --json prune", "command.order", {}),
    ("cache prune --kind pretrained", "name.unknown", {"name": "pretrained"}),
    ("cache prune --unused-days -1", "command.value", {"name": "--unused-days"}),
    (f"{RUN} --models {MODEL}&size=32", "model.option_twice", {"option": "size"}),
    (f"{RUN} --datasets kornblith2019?x=1", "study.group_options", {"name": "datasets"}),
    ("run --limit many", "command.value", {"name": "--limit", "expected": "an integer"}),
    ("run --limit 1.5", "command.value", {"name": "--limit", "expected": "an integer"}),
    ("run --device tpu", "command.value", {"expected": "one of auto, cpu, cuda"}),
    ("run --precision fp8", "command.value", {"expected": "one of fp32, bf16"}),
    ("run --study shape", "command.value", {"name": "--study"}),
    ("run --log paper", "command.value", {"name": "--log"}),
    ("run --workers -1", "command.value", {"expected": "0 or more"}),
    ("plan --price -3", "command.value", {"expected": "0 or more"}),
    ("plan kornblith2019 --price inf", "command.not_finite", {"option": "--price"}),
    ("plan --price cheap", "command.value", {"expected": "a number"}),
    ("analyze kornblith2019 --resamples 1e4", "command.value", {"name": "--resamples"}),
    ("analyze kornblith2019 --unit parts", "command.value", {"name": "--unit"}),
    ("report kornblith2019 --correction all", "command.value", {"name": "--correction"}),
    ("pretrain --arch a --dataset b --view side", "command.value", {"name": "--view"}),
    ("pretrain --dataset digits", "command.missing", {"name": "--arch"}),
    ("ablate --arch a --dataset b", "command.missing", {"name": "--transfer"}),
    ("upstream --models a", "command.missing", {"name": "--imagenet"}),
    ("embed a", "command.missing", {"name": "--dataset"}),
    ("analyze", "table.no_source", {}),
    ("report", "table.no_source", {}),
    ("models show", "command.missing", {"name": "NAME"}),
    ("rank", "command.missing", {"name": "FOLDER"}),
    ("models list", "command.command_unknown", {"name": "list"}),
    ("it's\"new\"", "command.command_unknown", {"name": "it's\"new\""}),
    ("models caf\udce9", "command.command_unknown", {"name": "caf\udce9"}),
    ("datasets verify", "command.missing", {"name": "NAME"}),
    ("datasets verify --jason digits", "command.option_unknown", {"near": ["--json"]}),
    ("results shw", "command.command_unknown", {"near": ["show"]}),
    # Names that are unknown, in every command that takes them.
    (f"{RUN} --models efficientnet_lite9", "name.unknown", {"kind": "model"}),
    (f"{RUN} --models {MODEL},efficientnet_lite9", "name.unknown", {"kind": "model"}),
    (f"{RUN} --models {MODEL}&sise=32", "name.unknown", {"name": "sise"}),
    (f"{RUN} --datasets digit", "name.unknown", {"near": ["digits"]}),
    (f"{RUN} --datasets digits?splt=1", "name.unknown", {"name": "splt"}),
    (f"{RUN} --settings linaer", "name.unknown", {"near": ["linear"]}),
    (f"{RUN} --settings linear:kornblith2018", "name.unknown", {"name": "kornblith2018"}),
    (f"{RUN} --models efficientnet_lite9 --dry-run", "name.unknown", {"kind": "model"}),
    (f"{RUN} --datasets digit --dry-run", "name.unknown", {"kind": "dataset"}),
    (f"{RUN} --settings linaer --dry-run", "name.unknown", {"kind": "setting"}),
    (f"{RUN} --datasets digits?splt=1 --dry-run", "name.unknown", {"name": "splt"}),
    (f"plan --models {MODEL} --datasets digit", "name.unknown", {"kind": "dataset"}),
    ("models show efficientnet_lite9", "name.unknown", {"kind": "model"}),
    ("upstream --models resnet5 --imagenet photos", "name.unknown", {"kind": "model"}),
    ("models --search no-such-network-anywhere", "model.none_found", {}),
    ("models show pretrained:none", "name.unknown", {"name": "pretrained:none"}),
    ("datasets verify digit", "name.unknown", {"near": ["digits"]}),
    ("datasets splits digit --export x.csv", "name.unknown", {"near": ["digits"]}),
    ("datasets splits digits?zzz=1 --export x.csv", "name.unknown", {"name": "zzz"}),
    ("datasets show digit", "name.unknown", {"near": ["digits"]}),
    ("datasets prepare digit", "name.unknown", {"near": ["digits"]}),
    ("embed efficientnet_lite9 --dataset digits", "name.unknown", {"kind": "model"}),
    (f"embed {MODEL} --dataset digit", "name.unknown", {"kind": "dataset"}),
    ("pretrain --arch efficientnet_lite9 --dataset digits", "name.unknown", {"kind": "model"}),
    (f"pretrain --arch {MODEL} --dataset digit", "name.unknown", {"kind": "dataset"}),
    ("run kornblith2018", "name.unknown", {"kind": "study"}),
    # Lists.
    (f"{RUN} --models ,", "study.missing", {"name": "models"}),
    ("run --datasets digits", "study.missing", {"name": "models"}),
    (f"run --models {MODEL}", "study.missing", {"name": "datasets"}),
    ("run", "study.missing", {"name": "models"}),
    (f"{RUN} --seeds a", "command.value", {"name": "seeds", "value": "a"}),
    (f"{RUN} --seeds 0-4294967295", "command.value", {"name": "seeds"}),
    (f"{RUN} --steps 0", "command.value", {"name": "steps"}),
    (f"{RUN} --steps ten", "command.value", {"name": "steps"}),
    (f"{RUN} --examples-per-class 0-3", "command.value", {"name": "examples-per-class"}),
    # What contradicts itself, or asks for what there is not.
    (f"{RUN} --limit 0", "study.value", {"name": "limit", "value": "0"}),
    (f"{RUN} --limit -3", "study.value", {"name": "limit", "value": "-3"}),
    (f"{RUN} --steps 10", "study.steps_unused", {}),
    (f"run --models {MODEL} --datasets digits --seeds 0,1", "study.seeds_unused", {}),
    (f"run --models {MODEL} --datasets digits --seeds 0,1 --dry-run", "study.seeds_unused", {}),
    (f"{RUN} --steps 10 --dry-run", "study.steps_unused", {}),
    (f"{RUN} --examples-per-class 5000", "study.examples_too_many", {}),
    (f"{RUN} --log-folder logs", "log.folder_alone", {}),
    (
        f"{RUN} --log mlflow --log-folder https://me:x@host",
        "log.folder_url",
        {"url": "https://me:***@host"},
    ),
    ("run kornblith2019 --study convergence", "command.conflict", {"option": "--study"}),
    (f"pretrain --arch {MODEL} --dataset digits --steps 0", "pretrain.value", {"name": "steps"}),
    (f"pretrain --arch {MODEL} --dataset digits --dropout 1", "pretrain.value", {}),
    (f"pretrain --arch {MODEL} --dataset digits --crop-area 2", "pretrain.value", {}),
    (f"pretrain --arch {MODEL} --dataset digits --seed -1", "pretrain.value", {"value": -1}),
    ("embed --dataset digits", "command.missing", {"name": "MODEL"}),
    ("upstream --models , --imagenet photos", "study.missing", {"name": "models"}),
    ("models --json show a", "command.order", {}),
    ("datasets --json verify digits", "command.order", {}),
    ("results --csv show", "command.order", {}),
    # Files that are not there, or are something else.
    ("run none.toml", "study.missing_file", {}),
    ("run .", "study.is_folder", {}),
    ("run photos", "study.is_folder", {}),
    ("run notes.txt", "toml.syntax", {}),
    ("run none/study.toml", "study.missing_file", {}),
    (f"{RUN} --datasets ./none", "dataset.missing", {}),
    ("datasets verify ./none", "dataset.missing", {}),
    ("upstream --models efficientnet_lite0 --imagenet none", "dataset.missing", {}),
    ("results --store none.db", "store.missing", {}),
    ("results show --store none.db", "store.missing", {}),
    ("results --store notes.txt", "store.foreign", {}),
    ("results --store notes.txt/a.db", "store.missing", {}),
    (f"{RUN} --store notes.txt", "store.foreign", {}),
    (f"{RUN} --store notes.txt/a.db", "storage.not_folder", {}),
    (f"{RUN} --store broken.db", "storage.broken_symlink", {}),
    (f"{RUN} --store pipe.db", "store.not_file", {}),
    ("results --store pipe.db", "store.not_file", {}),
    ("results show nothing --store results.db", "store.trial_unknown", {}),
    (f"{RUN} --keep-models notes.txt", "storage.not_folder", {}),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a text file, a pipe, a broken symlink, an empty store and images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    (tmp_path / "notes.txt").write_text("my notes " * 200)
    (tmp_path / "broken.db").symlink_to("gone/away.db")
    os.mkfifo(tmp_path / "pipe.db")
    ResultStore(tmp_path / "results.db", create=True).make()
    write_folder(tmp_path / "photos", {"train": {"a": 1, "b": 1}, "test": {"a": 1, "b": 1}})
    return tmp_path


@pytest.mark.parametrize(("line", "code", "values"), BAD, ids=[line for line, *_ in BAD])
def test_a_bad_command_is_one_line(cli, folder, line, code, values):
    before = {path.name for path in folder.iterdir()} | {"cache"}
    ended(cli(*line.split()), code, **values)
    # SQLite keeps shared memory beside a database that it reads.
    after = {path.name for path in folder.iterdir() if not path.name.endswith(("-shm", "-wal"))}
    assert after | {"cache"} == before


GOOD = f"models = ['{MODEL}']\ndatasets = ['digits']\n"
FILES = [
    ("models = [", "toml.syntax", {}),
    (f"{GOOD}limit = 01", "toml.syntax", {}),
    (f"{GOOD}models = ['b']", "toml.syntax", {}),
    ("datasets = ['digits']", "study.missing", {"name": "models"}),
    (f"models = []\ndatasets = ['{MODEL}']", "study.missing", {"name": "models"}),
    (f"{GOOD}limits = 3", "name.unknown", {"near": ["limit"]}),
    (f"{GOOD}[model]\nname = 'a'", "name.unknown", {"near": ["models"]}),
    (f"models = '{MODEL}'\ndatasets = ['digits']", "study.value", {"name": "models"}),
    ("models = [1]\ndatasets = ['digits']", "study.value", {"name": "models", "value": "1"}),
    (f"{GOOD}seeds = 3", "study.value", {"name": "seeds", "value": "3"}),
    (f"{GOOD}seeds = ['a']", "study.value", {"name": "seeds", "value": "'a'"}),
    (f"{GOOD}seeds = [-1]", "study.value", {"name": "seeds", "value": "-1"}),
    (f"{GOOD}seeds = [0.5]", "study.value", {"name": "seeds", "value": "0.5"}),
    (f"{GOOD}seeds = []", "study.missing", {"name": "seeds"}),
    (f"{GOOD}steps = [0]", "study.value", {"name": "steps", "value": "0"}),
    (f"{GOOD}examples_per_class = 'all'", "study.value", {"name": "examples_per_class"}),
    (f"{GOOD}limit = 'few'", "study.value", {"name": "limit"}),
    (f"{GOOD}limit = 2020-01-01", "study.value", {"name": "limit"}),
    (f"{GOOD}precision = 'fp8'", "study.value", {"name": "precision"}),
    (f"{GOOD}skip_broken = 'maybe'", "study.value", {"name": "skip_broken"}),
    (f"{GOOD}settings = 'linear'", "study.value", {"name": "settings"}),
    (f"{GOOD}settings = [3]", "study.value", {"name": "settings"}),
    (f"{GOOD}settings = [{{resize = 'whole'}}]", "study.setting_unnamed", {}),
    (f"{GOOD}settings = [{{name = 'linear', rezise = 'whole'}}]", "name.unknown", {}),
    (f"{GOOD}settings = [{{name = 'linear', resize = 'half'}}]", "setting.value", {}),
    (f"{GOOD}settings = [{{name = 'linear', lambdas = ['a']}}]", "setting.value", {}),
    (f"{GOOD}settings = [{{name = 'linear', lambdas = [0.0]}}]", "setting.value", {}),
    (f"{GOOD}settings = [{{name = 'linear', tolerance = inf}}]", "setting.value", {}),
    (f"{GOOD}settings = [{{name = 'finetune', steps = 'x'}}]", "setting.value", {}),
    (f"{GOOD}settings = [{{name = 'finetune', momentum = 1}}]", "setting.value", {}),
    (f"{GOOD}settings = [{{name = 'finetune', crop_area = [1]}}]", "setting.value", {}),
    (f"{GOOD}settings = [{{name = 'finetune', search = 'rungs'}}]", "setting.value", {}),
    ("models = ['a.py:net']\ndatasets = ['digits']", "study.untrusted", {}),
    (f"models = ['{MODEL}']\ndatasets = ['a.py:data']", "study.untrusted", {}),
]  # fmt: skip
PYDANTIC = ("input should", "unable to parse", "value error", "a valid", "pydantic", "string")


@pytest.mark.parametrize(("text", "code", "values"), FILES, ids=[text for text, *_ in FILES])
def test_a_bad_study_file_is_one_line(cli, folder, text, code, values):
    (folder / "study.toml").write_text(text)
    outcome = cli("run", "study.toml", "--store", "new.db")
    ended(outcome, code, **values)
    assert "study.toml" in outcome.err
    if code != "toml.syntax":
        assert not any(words in outcome.err.lower() for words in PYDANTIC), outcome.err
    assert not (folder / "new.db").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.encode("utf-16"),
        GOOD.encode("utf-16-le"),
        b"\xfe\xff" + GOOD.encode("utf-16-be"),
        GOOD.replace("\n", "\r\n").encode(),
    ],
    ids=["UTF-8 with a mark", "UTF-16", "UTF-16 without a mark", "UTF-16, big end first", "CRLF"],
)
def test_study_files_as_editors_save_them(cli, folder, content):
    (folder / "study.toml").write_bytes(content)
    outcome = cli("run", "study.toml", "--print-study")
    assert (outcome.code, outcome.err) == (0, "")
    assert f'models = [\n    "{MODEL}",\n]' in outcome.out


def test_a_line_that_is_not_utf8_is_named(cli, folder):
    (folder / "study.toml").write_bytes(GOOD.encode() + b"# caf\xe9\n")
    ended(cli("run", "study.toml"), "toml.encoding", line=3)


def test_the_place_of_a_syntax_error_is_named(cli, folder):
    (folder / "study.toml").write_text("models = ['a']\ndatasets = 'b")
    outcome = cli("run", "study.toml")
    assert "line 2" in outcome.error.values["why"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_study_file_that_may_not_be_read(cli, folder):
    (folder / "study.toml").write_text(GOOD)
    (folder / "study.toml").chmod(stat.S_IWUSR)
    ended(cli("run", "study.toml"), "storage.not_readable")
