"""The house rules that no linter checks."""

from __future__ import annotations

import ast
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from graftwork.spec.load import load_specs

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = ("platform", "jobs", "serving")


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_source_roots_hold_no_modules(root: str) -> None:
    """A `.py` directly in `platform/` would hide the standard library's `platform` and make Ray workers hang."""
    assert list((ROOT / root).glob("*.py")) == []


def test_platform_is_the_standard_one_at_the_repository_root() -> None:
    """Python started at the repository root, as Ray workers are, finds the standard `platform`."""
    answer = subprocess.run(
        [sys.executable, "-c", "import platform; print(platform.__file__)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(answer.stdout.strip()).parent == Path(sysconfig.get_path("stdlib"))


def test_every_test_folder_is_a_package() -> None:
    """Without `__init__.py`, two test files of one name in two folders would collide."""
    folders = {file.parent for file in (ROOT / "tests").rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize(("folder", "count"), [("jobs/specs", 3), ("serving/specs", 3)])
def test_every_spec_in_the_repository_is_valid(folder: str, count: int) -> None:
    """All ready-to-run specs are valid, and each opens with the command that runs it."""
    files = sorted((ROOT / folder).rglob("*.y*ml"))
    assert len(files) == count
    assert len(load_specs(files)) >= len(files)
    assert [file.name for file in files if not file.read_text().startswith("# graft ")] == []


def _modules() -> list[Path]:
    return [file for root in SOURCE_ROOTS for file in sorted((ROOT / root).rglob("*.py"))]


@pytest.mark.parametrize("file", _modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_module_says_what_belongs_in_it(file: Path) -> None:
    """Each module begins with a docstring, and stays of a size that can be read at one sitting."""
    text = file.read_text()
    assert ast.get_docstring(ast.parse(text)), "the module has no docstring"
    assert text.count("\n") <= 500, "the module is long: look again at what belongs in it"


def test_agents_table_names_every_package() -> None:
    """AGENTS.md tells the purpose of each package there is, and of none that is not."""
    table = (ROOT / "AGENTS.md").read_text()
    packages = {str(file.parent.relative_to(ROOT)) for file in _modules() if file.name == "__init__.py"}
    named = {line.split("`")[1].rstrip("/") for line in table.splitlines() if line.startswith("| `")}
    assert sorted(packages - named) == []
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
