"""Holds the table of docs/architecture.md: who may import whom, and which room owns which foreign library."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "recontour"
GROUND = {"errors", "disk", "settings", "geometry"}
FLOOR_2 = {"dicom", "align", "network", "fuse", "qa"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "disk": set(),
    "settings": {"errors"},
    "geometry": {"errors"},
    **{room: GROUND for room in FLOOR_2},
    "pipeline": GROUND | FLOOR_2 - {"dicom"},
    "judged": GROUND | {"qa", "pipeline"},
    "train": GROUND | {"network", "fuse", "qa.metrics", "qa.likeness", "phantom"},
    "phantom": GROUND | {"dicom"},
    **{
        room: GROUND | FLOOR_2 | {"pipeline", "judged", "train", "phantom"}
        for room in ("evaluate", "baselines", "doctor", "prepare", "hybrid")
    },
    "study": GROUND | FLOOR_2 | {"pipeline", "judged", "train", "phantom", "report"},
    "screenshots": GROUND,
    "report": GROUND | FLOOR_2 | {"pipeline"},
    "finished": GROUND | FLOOR_2 | {"pipeline", "report"},
    "accuracy": GROUND | FLOOR_2 | {"pipeline", "train", "phantom", "evaluate", "baselines", "personalize"},
    "compare": GROUND | FLOOR_2 | {"pipeline", "train", "phantom", "evaluate", "baselines", "hybrid"},
    "personalize": GROUND | FLOOR_2 | {"pipeline", "train", "phantom", "prepare"},
    "batch": GROUND | FLOOR_2 | {"pipeline", "report", "study"},
    "queue": GROUND | FLOOR_2 | {"report", "study"},
    "node": GROUND | FLOOR_2 | {"queue"},
    "calibrate": GROUND | {"qa", "evaluate"},
}
OWNERS = {
    "torch": ("network/", "train/"),
    "itk": ("align/",),
    "pydicom": ("dicom/",),
    "pynetdicom": ("node/",),
    "rt_utils": ("dicom/",),
    "typer": ("cli/",),
    "rich": ("cli/",),
}
HEAVY = {
    "torch",
    "itk",
    "scipy",
    "skimage",
    "pydicom",
    "SimpleITK",
    "rt_utils",
    "contourpy",
    "safetensors",
    "matplotlib",
    "jinja2",
    "reportlab",
    "PIL",
    "playwright",
}
MODULES = sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py"))


def room_of(dotted: str) -> str:
    return dotted.split(".")[0]


def imports_of(module: str, top_level_only: bool = False) -> Iterator[str]:
    """Full dotted names of what a module imports, `importlib.import_module("...")` included."""
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downwards(module: str) -> None:
    room = Path(module).parts[0].removesuffix(".py")
    if room in ("cli", "__init__", "__main__"):
        return
    for name in imports_of(module):
        if not name.startswith("recontour.") or name == "recontour.__version__":
            continue
        inner = name.removeprefix("recontour.")
        if room_of(inner) == room:
            continue
        allowed = MAY_IMPORT[room]
        assert any(inner == a or inner.startswith(f"{a}.") for a in allowed), f"{module} may not import {name}"


@pytest.mark.parametrize("module", MODULES)
def test_foreign_libraries_stay_in_their_rooms(module: str) -> None:
    for name in imports_of(module):
        owners = OWNERS.get(room_of(name))
        assert owners is None or module.startswith(owners), f"{module} may not import {name}"


@pytest.mark.parametrize("module", MODULES)
def test_heavy_libraries_are_imported_where_they_are_used(module: str) -> None:
    if module.startswith(("network/", "train/")):
        return  # the rooms of torch are themselves imported late
    for name in imports_of(module, top_level_only=True):
        assert room_of(name) not in HEAVY, f"{module} imports {name} at its top"


def test_nobody_imports_the_command_line() -> None:
    for module in MODULES:
        if module != "__main__.py" and not module.startswith("cli/"):
            assert not any(name.startswith("recontour.cli") for name in imports_of(module)), module


def test_the_command_line_starts_light() -> None:
    code = "import sys, recontour.cli; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & (HEAVY | {"numpy"})


def test_every_package_is_shipped() -> None:
    """The list in pyproject.toml is written by hand: a package that it lacks is missing from every wheel."""
    listed = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    there = {".".join(("recontour", *p.parent.relative_to(PACKAGE).parts)) for p in PACKAGE.rglob("__init__.py")}
    assert set(listed) == there | {"recontour.models"}


def test_no_function_is_longer_than_a_screen() -> None:
    for module in MODULES:
        for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{module}: {node.name} is over 60 lines"
