"""The rules of the house that a machine can check; the others are in CONTRIBUTING.md."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import run
import torch

from latentloom.shapes import fold_frames

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "latentloom"
SOURCES = sorted(PACKAGE.rglob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "runs").rglob("*.md")])


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all modules a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """(source text of the callee, call) of each call in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def tree_in(readme: str) -> set[str]:
    """Paths of the files that the README's tree names; two spaces of indentation are one folder."""
    block = re.search(r"```text\n(src/latentloom/\n.*?)```", readme, re.DOTALL)
    assert block, "README.md has no tree that begins with src/latentloom/"
    folders, files = [], set()
    for line in block.group(1).splitlines():
        indent, name = re.match(r"( *)(\S+)", line).groups()
        folders = folders[: len(indent) // 2]
        if name.endswith("/"):
            folders.append(name)
        else:
            files.add("".join([*folders, name]))
    return files


def requirement_name(line: str) -> str:
    """``pyright[nodejs]>=1`` -> ``pyright``, in the registry's spelling."""
    return re.match(r"[A-Za-z0-9._-]+", line).group().lower().replace("_", "-")


def test_the_tree_in_the_readme_names_exactly_the_files_of_the_package():
    named = tree_in((ROOT / "README.md").read_text(encoding="utf-8"))
    there = {str(path.relative_to(ROOT)) for path in SOURCES if path.name != "__init__.py"}
    assert sorted(there - named) == [], "not in the README's tree"
    assert sorted(named - there) == [], "in the README's tree, but not there"


def test_files_and_functions_keep_to_the_limits_of_size():
    files = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in run.source_files(ROOT)}
    functions = [row for path in files for row in run.function_sizes(path)]
    assert PACKAGE / "shapes.py" in files
    assert {str(path): lines for path, lines in files.items() if lines > run.MAX_FILE_LINES} == {}
    assert [row for row in functions if row[0] > run.MAX_FUNCTION_LINES] == []


def test_the_size_report_fails_on_a_file_or_a_function_that_is_too_long(tmp_path, capsys):
    room = tmp_path / "src"
    room.mkdir()
    (room / "fits.py").write_text("def short():\n    return 1\n")
    assert run.report_sizes(tmp_path)
    (room / "long.py").write_text("x = 1\n" * (run.MAX_FILE_LINES + 1))
    assert not run.report_sizes(tmp_path)
    (room / "long.py").write_text("def long():\n" + "    x = 1\n" * run.MAX_FUNCTION_LINES)
    assert not run.report_sizes(tmp_path)
    assert "long.py:1 long  over 60" in capsys.readouterr().out


def test_no_tracked_file_names_a_path_of_one_machine():
    machine_path = r"(^|[^A-Za-z.])(/" + "(work|tmp|root|home)" + "/)[A-Za-z]"
    search = ["git", "grep", "-nIE", machine_path, "--", ".", ":!.gitignore"]
    found = subprocess.run(search, cwd=ROOT, capture_output=True, text=True)
    if found.returncode > 1:
        pytest.skip("not a git checkout")
    assert found.stdout == ""


def test_layers_import_torch_einops_and_the_shapes_only():
    allowed = {"torch", "einops", "jaxtyping", *sys.stdlib_module_names}
    allowed_here = ("latentloom.layers", "latentloom.shapes", ".")
    for path in (PACKAGE / "layers").glob("*.py"):
        strangers = [name for name in imports(path) if name.split(".")[0] not in allowed]
        assert [name for name in strangers if not name.startswith(allowed_here)] == [], path


def test_hooks_are_registered_in_align_only():
    users = {path.name for path in SOURCES for name, _ in calls(path) if re.search(r"register_\w*hook", name)}
    assert users == {"aligned.py"}


def test_nothing_unpickles_what_it_reads():
    for path in SOURCES:
        assert not {"pickle", "dill", "cloudpickle", "joblib"} & {name.split(".")[0] for name in imports(path)}, path
        for name, call in calls(path):
            if name == "torch.load":
                assert "weights_only=True" in ast.unparse(call), f"{path}:{call.lineno}"


def test_shapes_and_types_are_checked_while_testing():
    with pytest.raises(jaxtyping.TypeCheckError, match="video"):
        fold_frames(torch.zeros(2, 3, 4))


def test_no_room_or_file_has_a_name_that_says_nothing():
    names = {part for path in SOURCES for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert not names & {"utils", "util", "helpers", "helper", "misc", "common", "tools", "core", "base_utils"}


def test_each_room_is_a_package_so_that_it_is_installed_and_linted():
    bare = {path.parent for path in SOURCES if not (path.parent / "__init__.py").exists()}
    assert [str(folder.relative_to(ROOT)) for folder in bare] == []


def test_annotations_stay_real_objects_so_that_shapes_can_be_checked():
    assert [str(path) for path in SOURCES if "__future__" in set(imports(path))] == []


def test_every_file_says_in_its_first_lines_what_it_is():
    silent = [path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert [str(path) for path in silent] == []


def test_each_folder_of_tests_is_a_room_or_a_kind_of_test():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    kinds = {"properties", "oracles", "faults", "gpu", "runs"}
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/*.py")}
    assert folders - rooms - kinds == set()


def test_each_dependency_is_pinned_in_the_tested_set_and_none_is_forbidden():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    untested = {"ui"}  # the studio does not exist yet
    extras = {name: rows for name, rows in project["optional-dependencies"].items() if name not in untested}
    wanted = {requirement_name(row) for rows in [project["dependencies"], *extras.values()] for row in rows}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {requirement_name(line) for line in lines if line and not line.startswith("#")}
    assert wanted - pinned == set()
    assert not (wanted | pinned) & {"torchvision", "torchcodec", "lpips", "torch-fidelity", "open-clip-torch", "timm"}


def test_every_link_in_the_documents_leads_to_a_file():
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in DOCUMENTS
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8"))
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert broken == []
