"""The floor rule: imports, also those inside functions, go down only. Read from the source, nothing is imported."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = (
    ("numerics",),
    ("data", "spec"),
    ("measurement", "latent"),
    ("integration",),
    ("models",),
    ("guides",),
    ("inference",),
    ("results",),
    ("diagnostics",),
    ("plots", "report"),
    ("faces",),
    ("cli",),
)
LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}
LAZY = {"matplotlib", "arviz", "arviz_base", "arviz_stats", "arviz_plots", "pyarrow", "polars"}
SITES = {"sample", "param", "plate"}
# the particle plate, and nothing else, also in the importance-weighted ELBO
PARTICLE_PLATE = "inference/importance_weighted_elbo.py"


@dataclass(frozen=True)
class Import:
    name: str  # absolute: "jaxlatent.numerics.newton", "pandas"
    line: int
    at_import: bool  # runs when the module is imported: not in a function, not under TYPE_CHECKING
    typing_only: bool


def room(path: str) -> str:
    """The floor a file or a dotted module below ``jaxlatent`` belongs to; modules at the top are faces, but for cli."""
    parts = path.removesuffix(".py").replace("/", ".").split(".")
    if len(parts) == 1 and parts[0] in ("cli", "__main__"):
        return "cli"
    return parts[0] if parts[0] in LEVEL and parts[0] != "faces" else "faces"


def _absolute(node: ast.ImportFrom, path: str) -> str:
    if not node.level:
        return node.module or ""
    package = ["jaxlatent", *path.split("/")[:-1]]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _names(node: ast.AST, path: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        module = _absolute(node, path)
        return [f"{module}.{alias.name}" if module == "jaxlatent" else module for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
        return [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return []


def imports(tree: ast.AST, path: str, *, inside: bool = False, typing_only: bool = False) -> Iterator[Import]:
    """Every import of a file, with whether it runs on import."""
    for node in ast.iter_child_nodes(tree):
        for name in dict.fromkeys(_names(node, path)):
            yield Import(name, node.lineno, not inside and not typing_only, typing_only)
        function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if _is_type_checking(node):
            for child in node.body:
                yield from imports(ast.Module([child], []), path, inside=inside, typing_only=True)
            yield from imports(ast.Module(node.orelse, []), path, inside=inside, typing_only=typing_only)
        else:
            yield from imports(node, path, inside=inside or function, typing_only=typing_only)


def _upward(path: str, found: list[Import]) -> Iterator[str]:
    here = room(path)
    for each in found:
        top, _, rest = each.name.partition(".")
        if top != "jaxlatent":
            continue
        there = room(rest) if rest else "faces"
        if there != here and LEVEL[there] >= LEVEL[here]:
            yield f"{path}:{each.line} {here} imports {each.name} ({there}), which is not below it"


def _libraries(path: str, found: list[Import]) -> Iterator[str]:
    here = room(path)
    for each in found:
        top = each.name.partition(".")[0]
        where = f"{path}:{each.line}"
        if top in LAZY and each.at_import:
            yield f"{where} imports {top} when it is imported: import it in the function that uses it"
        if top == "flax" and here != "numerics":
            yield f"{where} imports flax outside numerics"
        if top == "equinox":
            yield f"{where} imports equinox"
        if top == "pandas" and LEVEL[here] < LEVEL["results"]:
            if each.at_import and here != "data":
                yield f"{where} imports pandas when it is imported, below results"
            elif not each.typing_only and here not in ("data", "spec"):
                yield f"{where} uses pandas below results"


def _numpyro_sites(path: str, tree: ast.Module) -> Iterator[str]:
    aliases = {"numpyro", "numpyro.primitives"}
    used: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {a.asname for a in node.names if a.asname and a.name in ("numpyro", "numpyro.primitives")}
        elif isinstance(node, ast.ImportFrom) and node.module in ("numpyro", "numpyro.primitives"):
            used += [(a.name, node.lineno) for a in node.names]
            aliases |= {a.asname or a.name for a in node.names if a.name == "primitives"}
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in aliases:
            used.append((node.attr, node.lineno))
    for name, line in used:
        allowed = room(path) in ("models", "guides") or (path == PARTICLE_PLATE and name == "plate")
        if name in SITES and not allowed:
            yield f"{path}:{line} uses numpyro.{name} outside models and guides"


def violations(files: dict[str, str]) -> list[str]:
    """Sentences, one a violation, for files given as {path below jaxlatent: source}."""
    out: list[str] = []
    with_flax: list[str] = []
    for path, source in sorted(files.items()):
        tree = ast.parse(source)
        found = list(imports(tree, path))
        out += [*_upward(path, found), *_libraries(path, found), *_numpyro_sites(path, tree)]
        if any(each.name.partition(".")[0] == "flax" for each in found):
            with_flax.append(path)
    if len(with_flax) > 1:
        out.append(f"more than one file imports flax: {', '.join(with_flax)}")
    return out


def package() -> dict[str, str]:
    folder = ROOT / "jaxlatent"
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.py")}


def base_requirements() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {re.match(r"[\w-]+", each)[0].lower().replace("-", "_") for each in project["dependencies"]}


def test_the_package_keeps_the_floor_rule():
    found = violations(package())
    assert not found, "\n" + "\n".join(found)


def test_every_folder_has_a_floor():
    folders = {path.split("/")[0] for path in package() if "/" in path}
    assert folders <= set(LEVEL), f"not on the list of floors: {sorted(folders - set(LEVEL))}"


def test_what_is_imported_first_is_in_the_base_installation():
    """A module-level import of an extra would break ``import jaxlatent`` for everyone without it."""
    known = base_requirements() | set(sys.stdlib_module_names) | {"jaxlatent", "jaxlib"}
    missing = [
        f"{path}:{each.line} {each.name}"
        for path, source in package().items()
        for each in imports(ast.parse(source), path)
        if each.at_import and each.name.partition(".")[0] not in known
    ]
    assert not missing, missing


# the checker itself: each case is a file, its text, and a word of the sentence expected (None: allowed)
CASES = [
    ("numerics/a.py", "from jaxlatent.spec import layout", "numerics imports jaxlatent.spec"),
    ("numerics/a.py", "def f():\n    from jaxlatent.results.tables import t", "not below it"),
    ("numerics/a.py", "class A:\n    def f(self):\n        import jaxlatent.plots.path as p", "not below it"),
    ("inference/ml.py", "from ..results import tables", "inference imports jaxlatent.results"),
    ("inference/ml.py", "from .. import results", "inference imports jaxlatent.results"),
    ("inference/ml.py", "import jaxlatent as jl", "(faces)"),
    ("inference/ml.py", "from jaxlatent import SEM", "(faces)"),
    (
        "inference/ml.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from jaxlatent.fit import Fit",
        "(faces)",
    ),
    ("inference/ml.py", "import importlib\nm = importlib.import_module('jaxlatent.plots')", "not below it"),
    ("data/a.py", "from jaxlatent.spec import parser", "data imports jaxlatent.spec"),
    ("spec/a.py", "from ..data import moments", "spec imports jaxlatent.data"),
    ("latent/a.py", "from jaxlatent.measurement import normal", "latent imports jaxlatent.measurement"),
    ("plots/a.py", "from jaxlatent import report", "plots imports jaxlatent.report"),
    ("sem.py", "from jaxlatent.cli import main", "faces imports jaxlatent.cli"),
    ("sem.py", "from jaxlatent.fit import Fit\nfrom .compare import compare", None),
    ("sem.py", "from jaxlatent.plots import paths\nfrom jaxlatent import numerics", None),
    ("cli.py", "def f():\n    import jaxlatent as jl", None),
    (
        "inference/ml.py",
        "from jaxlatent.inference.engine import Engine\nfrom . import engine\nfrom .engine import run",
        None,
    ),
    ("spec/layout.py", "from jaxlatent.numerics.newton import minimize", None),
    ("inference/nets.py", "def f():\n    from flax import nnx", "flax outside numerics"),
    ("numerics/nets.py", "from flax import nnx", None),
    ("results/a.py", "import equinox", "equinox"),
    ("plots/a.py", "import matplotlib.pyplot as plt", "imports matplotlib when"),
    ("plots/a.py", "try:\n    import pyarrow\nexcept ImportError:\n    pass", "imports pyarrow when"),
    ("plots/a.py", "def f():\n    import matplotlib.pyplot as plt\n    import arviz_plots", None),
    ("data/a.py", "class A:\n    import polars", "imports polars when"),
    ("data/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import polars", None),
    ("spec/a.py", "import pandas as pd", "pandas when it is imported"),
    ("spec/a.py", "def f():\n    import pandas as pd", None),
    ("data/a.py", "import pandas as pd", None),
    ("inference/a.py", "def f():\n    import pandas as pd", "uses pandas below results"),
    ("results/a.py", "import pandas as pd", None),
    ("inference/a.py", "import numpyro\nx = numpyro.sample('x', d)", "numpyro.sample outside"),
    ("inference/a.py", "import numpyro as npr\nx = npr.param('x')", "numpyro.param outside"),
    ("inference/a.py", "from numpyro import plate", "numpyro.plate outside"),
    ("inference/a.py", "from numpyro.primitives import sample as s", "numpyro.sample outside"),
    ("inference/a.py", "from numpyro import primitives as p\np.param('x')", "numpyro.param outside"),
    ("models/a.py", "import numpyro\nx = numpyro.sample('x', d)", None),
    ("guides/a.py", "from numpyro import plate", None),
    (PARTICLE_PLATE, "import numpyro\nnumpyro.plate('particle', 5)", None),
    (PARTICLE_PLATE, "import numpyro\nnumpyro.sample('x', d)", "numpyro.sample outside"),
    (
        "inference/a.py",
        "import numpyro\nimport numpyro.distributions as dist\nnumpyro.factor('a', 1)\ndist.Normal.sample",
        None,
    ),
]


@pytest.mark.parametrize(("path", "source", "sentence"), CASES)
def test_the_checker(path, source, sentence):
    found = violations({path: source})
    if sentence is None:
        assert found == []
    else:
        assert len(found) == 1 and sentence in found[0], found


def test_the_checker_counts_flax():
    files = {"numerics/a.py": "import flax", "numerics/b.py": "def f():\n    from flax import nnx"}
    assert violations(files) == ["more than one file imports flax: numerics/a.py, numerics/b.py"]
