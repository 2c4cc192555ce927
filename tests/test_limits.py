"""The limits of CONTRIBUTING.md: functions of 60 lines, modules of 600, no cycles of imports."""

import ast
from collections import Counter
from pathlib import Path

import grimp

FUNCTION, MODULE = 60, 600
SOURCE = Path(__file__).parents[1] / "src" / "headstart"
# Of functions "module name" that have to be longer -> why. There are none.
OVER: dict[str, str] = {}


def lines_of_functions() -> dict[str, int]:
    """From `def` to the last line, docstring and all; decorators do not count."""
    return {
        f"{path.relative_to(SOURCE)} {node.name}": node.end_lineno - node.lineno + 1
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }


def test_functions_are_short():
    over = {name for name, n in lines_of_functions().items() if n > FUNCTION}
    assert over == OVER.keys()


def test_modules_are_short():
    lengths = {
        str(path.relative_to(SOURCE)): len(path.read_text().splitlines())
        for path in SOURCE.rglob("*.py")
    }
    assert lengths
    assert {name for name, n in lengths.items() if n > MODULE} == set()


def test_a_module_lists_its_public_names_once():
    more = {
        str(path.relative_to(SOURCE)): n
        for path in SOURCE.rglob("*.py")
        if (n := sum(line.startswith("__all__") for line in path.read_text().splitlines())) > 1
    }
    assert more == {}


def test_no_module_and_no_class_stands_twice():
    modules, classes = Counter(), Counter()
    for path in SOURCE.rglob("*.py"):
        modules[path.stem] += 1
        tree = ast.parse(path.read_text())
        classes.update(node.name for node in tree.body if isinstance(node, ast.ClassDef))
    del modules["__init__"], modules["__main__"]
    assert {name for name, n in modules.items() if n > 1} == set()
    assert {name for name, n in classes.items() if n > 1} == set()


def test_modules_do_not_import_each_other():
    graph = grimp.build_graph("headstart", cache_dir=None, exclude_type_checking_imports=True)
    # What nothing else imports, or what imports nothing else, is in no cycle.
    left = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    size = 0
    while len(left) != size:
        size = len(left)
        imported = set().union(*left.values())
        left = {one: some & left.keys() for one, some in left.items() if some & left.keys()}
        left = {one: some for one, some in left.items() if one in imported}
    assert left == {}
