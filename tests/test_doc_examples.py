"""Examples in README and docs name what there is: commands, options, Python names, files.

The decisions are left out: they say what was so when they were taken.
"""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from sklearn.datasets import load_digits

import headstart as hs
from conftest import write_folder
from headstart.cli.main import app
from headstart.registry import REGISTRIES
from stores import make_store

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", flags=re.MULTILINE | re.DOTALL)
PROMPT = r"(?:[\w-]*\$ )?"
SCRIPTS = sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "scripts").glob("*.py")])
ROOT_COMMAND = typer.main.get_command(app)

# Options of other programs that the text names.
OF_OTHERS = {
    "ray": {
        "--dashboard-host", "--dashboard-port", "--head", "--include-dashboard",
        "--max-worker-port", "--min-worker-port", "--node-manager-port", "--object-manager-port",
        "--port", "--ray-client-server-port",
    },
    "torchrun": {"--nproc-per-node"},
    "tensorboard": {"--logdir"},
    "mlflow": {"--backend-store-uri"},
}  # fmt: skip


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of code of a page in a language, "" for a shell."""
    return [code for found, code in BLOCK.findall(page.read_text()) if found == language]


def inline(page: Path) -> list[str]:
    """Return what a page has in backticks in its text; in a table a bar is escaped."""
    text = BLOCK.sub("", page.read_text())
    return [code.replace("\\|", "|") for code in re.findall(r"`([^`]+)`", text)]


def shell_lines(block: str) -> list[str]:
    """Return the commands of a block, each on one line, and what they print."""
    lines, begun = [], ""
    for line in block.splitlines():
        begun += line.strip() if begun else line
        if begun.endswith("\\"):
            begun = begun.removesuffix("\\")
        # A quote may go on in the next line; what a command prints has apostrophes.
        elif not re.match(rf"{PROMPT}[\w ]*headstart .*'", begun) or not begun.count("'") % 2:
            lines.append(begun)
            begun = ""
    return [*lines, begun]


def commands(page: Path) -> list[str]:
    """Return the arguments of `headstart` in the blocks of a page."""
    start = re.compile(rf"{PROMPT}(?:time |torchrun .* -m )?headstart (.*)")
    found = [start.match(line) for block in blocks(page, "") for line in shell_lines(block)]
    return [match[1] for match in found if match]


def refusal(words: list[str], *, whole: bool) -> str:
    """Return why the command line refuses words, "" if it does not; only options unless `whole`.

    Nothing is run, and no file is looked for.
    """
    command, name, parent = ROOT_COMMAND, "headstart", None
    try:
        while True:
            is_group = hasattr(command, "resolve_command")
            context = command.context_class(command, info_name=name, parent=parent)
            rest = command.make_parser(context).parse_args(list(words))[1]
            if whole and not is_group:
                command.make_context(name, list(words), parent=parent)
            if not is_group or not rest:
                return ""
            name, command, words = command.resolve_command(context, rest)
            parent = context
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist_with_their_options(page):
    found = {line: refusal(shlex.split(line, comments=True), whole=True) for line in commands(page)}
    for code in inline(page):
        # In the text a command may stand without its arguments, and with what is to be filled in.
        if match := re.match(r"headstart ([a-z-][^|]*)", code.replace("...", "N")):
            found[code] = refusal(shlex.split(match[1]), whole=False)
    assert {line: why for line, why in found.items() if why} == {}


def test_the_command_of_the_manifest_for_kubernetes_exists():
    text = (ROOT / "docs" / "kuberay.yaml").read_text()
    (command,) = re.findall(r"entrypoint: >-\n\s+headstart (.*?)\n  \S", text, flags=re.DOTALL)
    assert refusal(shlex.split(command), whole=True) == ""


def texts_of_source(file: Path) -> Iterator[str]:
    """Yield the texts of a file of the source, with N for what is filled in."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "N" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_commands_that_messages_and_help_name_exist():
    found = {
        code: refusal(shlex.split(code.replace("...", "N")), whole=False)
        for file in (ROOT / "src").rglob("*.py")
        if "`headstart " in file.read_text()
        for text in texts_of_source(file)
        for code in re.findall(r"`headstart ([a-z][^`|]*)`", text)
    }
    assert len(found) > 10
    assert {code: why for code, why in found.items() if why} == {}


def test_a_command_that_does_not_exist_is_found():
    for line in ("rum study.toml", "run --modles resnet50", "datasets prepared food101",
                 "run --device tpu", "models show a b", "embed resnet50"):  # fmt: skip
        assert refusal(line.split(), whole=True), line
    assert refusal(["run", "--modles", "N"], whole=False)
    assert not refusal(["embed"], whole=False)
    assert shell_lines("$ headstart rank a --models 'b,\n  c'\nd's\na \\\n  b") == [
        "$ headstart rank a --models 'b,c'", "d's", "a b", "",
    ]  # fmt: skip


def options_of(command: object, name: str = "headstart", parent: object = None) -> set[str]:
    """Return the options of a command and of those below it."""
    context = command.context_class(command, info_name=name, parent=parent)
    found = {one for each in command.get_params(context) for one in each.opts + each.secondary_opts}
    for below in command.list_commands(context) if hasattr(command, "list_commands") else ():
        found |= options_of(command.get_command(context, below), below, context)
    return found


def options_of_script(file: Path) -> set[str]:
    """Return the options that a benchmark or script adds to its parser."""
    added = re.findall(r"add_argument\(\s*(\"--.*?\")", file.read_text())
    return {ast.literal_eval(one) for one in added}


def test_options_in_the_text_exist():
    known = options_of(ROOT_COMMAND).union(*OF_OTHERS.values())
    known |= set().union(*map(options_of_script, SCRIPTS))
    found = {
        (page.name, option)
        for page in PAGES
        for code in inline(page)
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)
    }
    assert len(found) > 200
    assert {(page, option) for page, option in found if option not in known} == set()


def uses_of_scripts() -> set[tuple[str, str]]:
    """Return which script is called with what: in the docs, and in the scripts' own docstrings."""
    texts = [page.read_text() for page in PAGES]
    texts += [ast.get_docstring(ast.parse(file.read_text())) or "" for file in SCRIPTS]
    call = re.compile(r"((?:benchmarks|scripts)/\w+\.(?:py|sh))((?:[ \n]+[^`#\n]*)?)")
    return {(path, rest) for text in texts for path, rest in call.findall(text)}


def test_scripts_exist_with_their_options():
    uses = uses_of_scripts()
    assert {path for path, _ in uses if not (ROOT / path).is_file()} == set()
    wrong = {
        (path, option)
        for path, rest in uses
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", rest)
        if option not in options_of_script((ROOT / path).with_suffix(".py"))
    }
    assert len(uses) > 30
    assert wrong == set()


def test_targets_of_make_extras_and_environment_variables_exist():
    text = "\n".join(page.read_text() for page in PAGES)
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = re.findall(rf"(?:^{PROMPT}|`)make ([a-z][a-z -]*[a-z])", text, flags=re.MULTILINE)
    assert made
    assert {name for names in made for name in names.split()} <= targets
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.findall(r"headstart\[([\w,]+)\]", text)
    assert extras
    assert {name for names in extras for name in names.split(",")} <= {
        *project["optional-dependencies"]
    }
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").glob("*.py")]
    read = set(re.findall(r"\bHEADSTART_\w+", "\n".join(file.read_text() for file in sources)))
    assert set(re.findall(r"\bHEADSTART_\w+", text)) <= read


def there_is(dotted: str) -> bool:
    """Whether a module, or what it has under this name, can be imported."""
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for part in parts[n:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def python_names(page: Path) -> set[str]:
    """Return what of headstart the text and the examples of a page name."""
    text = page.read_text()
    found = {f"headstart.{rest}" for rest in re.findall(r"(?<![\w./@:])hs\.([\w.]*\w)", text)}
    found |= set(re.findall(r"(?<![\w./@:-])headstart\.[\w.]*\w", text))
    for code in blocks(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {f"{node.module}.{each.name}" for each in node.names}
    return found


def test_python_names_exist():
    # Groups of entry points, and files that are called so.
    others = {f"headstart.{registry.kind}" for registry in REGISTRIES}
    others |= {"headstart.json", "headstart.db"}
    found = {name for page in PAGES for name in python_names(page)} - others
    assert len(found) > 20
    assert sorted(name for name in found if not there_is(name)) == []
    assert not there_is("headstart.features.FeatureRequest.all_of")


def test_files_of_the_source_that_the_text_names_exist():
    """A module that moved leaves no path to where it was."""
    folders = ("src", "tests", "benchmarks", "scripts")
    files = [f"/{file}" for folder in folders for file in (ROOT / folder).rglob("*.py")]
    # What an export has, and a file of the reader's.
    others = {"example.py", "net.py", "./net.py", "path/to/file.py"}
    found = {
        (page.name, name)
        for page in PAGES
        if page.name != "errors.md"  # made of messages, which say what a reader's file is called
        for code in inline(page)
        for name in re.findall(r"[\w./-]+\.py\b", code)
        if name not in others
    }
    assert len(found) > 50
    gone = {(page, name) for page, name in found if not any(f.endswith(f"/{name}") for f in files)}
    assert gone == set()


NETWORK = f"{ROOT / 'tests' / 'small_network.py'}:build?size=32&weights=random"


def of_analysis() -> tuple[dict[str, str], dict[str, Any]]:
    return {}, {"analysis": hs.analyze("kornblith2019", resamples=100)}


def of_deploy() -> tuple[dict[str, str], dict[str, Any]]:
    linear = [{"name": "linear", "lambdas": [1.0]}]
    study = hs.Study(models=[NETWORK], datasets=["digits"], settings=linear, limit=100)
    study.run(store="results.db")
    key = hs.results("results.db").key[0]
    image = Image.new("RGB", (20, 20))
    image.save("a.jpg")
    return {'"3f2a"': repr(key)}, {"pillow_image": image, "array": np.asarray(image)}


def of_embedding() -> tuple[dict[str, str], dict[str, Any]]:
    each = dict.fromkeys("abc", 6)
    write_folder(Path("images"), dict.fromkeys(("train", "validation", "test"), each))
    return {'"efficientnet_lite0"': repr(NETWORK), '"glyphs"': '"./images"'}, {}


def of_probe() -> tuple[dict[str, str], dict[str, Any]]:
    X, y = load_digits(n_class=3, return_X_y=True)
    names = {"": slice(60), "_val": slice(60, 90), "_test": slice(90, 120)}
    return {}, {
        f"{a}{name}": v[rows] for name, rows in names.items() for a, v in (("X", X), ("y", y))
    }


def of_rank() -> tuple[dict[str, str], dict[str, Any]]:
    return {'"photos"': f'"digits", models=[{NETWORK!r}], limit=60'}, {}


def of_store() -> tuple[dict[str, str], dict[str, Any]]:
    make_store(Path("results.db"), {"net": 0.8})
    return {}, {}


# What is replaced in the examples of a page, and the names that they begin with. README's are
# tested with what they give (test_docs.py).
EXAMPLES = {
    "analysis.md": of_analysis,
    "deploy.md": of_deploy,
    "embedding.md": of_embedding,
    "probe.md": of_probe,
    "rank.md": of_rank,
    "store.md": of_store,
}


def test_all_pages_with_python_are_known():
    assert {page.name for page in PAGES if blocks(page, "python")} == {*EXAMPLES, "README.md"}
    assert {language for page in PAGES for language, _ in BLOCK.findall(page.read_text())} == {
        "", "python", "toml",
    }  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_python_of_a_page_runs(name, tmp_path, monkeypatch):
    """Its blocks one after another, as in a notebook."""
    monkeypatch.chdir(tmp_path)
    replaced, scope = EXAMPLES[name]()
    for code in blocks(ROOT / "docs" / name, "python"):
        for old, new in replaced.items():
            assert old in code
            code = code.replace(old, new)
        exec(compile(code, name, "exec"), scope)


def test_the_documented_reporter_writes(tmp_path):
    scope: dict[str, Any] = {}
    exec(blocks(ROOT / "docs" / "analysis.md", "python")[0], scope)
    scope["PlainText"]().write(hs.analyze("kornblith2019", resamples=100), tmp_path / "out.txt")
    assert "upstream_accuracy" in (tmp_path / "out.txt").read_text()
