"""README and the documentation say what is so: code runs, links lead somewhere, every page is in the menu."""

import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import QUICK

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES]


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_hooks"] = module
    spec.loader.exec_module(module)
    return module


def shell_lines(text):
    return [line for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S) for line in block.splitlines()]


def test_readme_begins_with_the_two_lines():
    demo, tests = shell_lines((ROOT / "README.md").read_text())[:2]
    assert demo.startswith("python3 -m venv") and demo.endswith("jaxlatent demo")
    assert tests.startswith("python3 -m venv") and tests.endswith("-m pytest")


def test_extras_that_are_named_exist():
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    for path in TEXTS:
        named = {name for group in re.findall(r'"\.\[([\w,]+)\]"', path.read_text()) for name in group.split(",")}
        assert named <= extras, path.name
    table = re.search(r"## Extras\n(.*?)\n## ", (DOCS / "installation.md").read_text(), re.S)[1]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == extras


def test_every_page_is_in_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text().split("nav:")[1].split("hooks:")[0]
    assert sorted(re.findall(r"[\w/]+\.md", menu)) == sorted(path.relative_to(DOCS).as_posix() for path in PAGES)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text())
    gone = [each for each in targets if not each.startswith("https://") and not (path.parent / each).exists()]
    assert not gone


@pytest.mark.slow
def test_python_in_readme_runs(hooks, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", QUICK)
    output = hooks.run(hooks.BLOCK.findall((ROOT / "README.md").read_text()))
    assert "indirect" in output.printed[0] and "democracy.svg" in output.pictures


@pytest.mark.parametrize(
    "page", [path for path in PAGES if "run: true" in path.read_text()], ids=lambda path: path.name
)
def test_python_on_pages_runs(hooks, page, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", QUICK)
    text = page.read_text()
    assert len(hooks.run_page(text)) > len(text)


def test_shown_output_and_pictures(hooks, tmp_path, monkeypatch):
    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    (tmp_path / "jaxlatent").mkdir()
    page = (
        "Text.\n\n```python\nx = 1\nprint(x)\n```\n\nMore.\n\n"
        "```python\nopen('a.svg', 'w').write('<svg>\\n\\n</svg>')\n```\n\n```python\nprint(x + 1)\n```\n"
    )
    made = hooks.run_page(page)
    assert "print(x)\n```\n\n```text\n1\n```\n\nMore." in made
    assert "<svg>\n</svg>\n<figcaption>a.svg" in made
    assert made.endswith("print(x + 1)\n```\n\n```text\n2\n```\n")
    assert hooks.run_page(page) == made and len(list((tmp_path / ".cache" / "docs").iterdir())) == 1
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        hooks.run_page("```python\n1 / 0\n```")


def test_pictures_that_are_png(hooks, tmp_path, monkeypatch):
    monkeypatch.setattr(hooks, "_kept", lambda blocks: tmp_path / "kept.json")
    (tmp_path / "a.png").write_bytes(b"bits")
    output = hooks.keep(["save('a.png')"], "", tmp_path)
    assert 'markdown="0">\n<img alt="a" src="data:image/png;base64,Yml0cw==">' in hooks.shown(
        "save('a.png')", "", output.pictures
    )


def test_long_outputs_are_shortened(hooks):
    short = hooks.shown("", "\n".join(map(str, range(1010))), {})
    assert "\n149\n\n... 800 lines ...\n\n950\n" in short and "\n1009\n```" in short and "\n500\n" not in short


def test_api_page_lists_every_public_name(hooks):
    import jaxlatent as jl

    listed = set(re.findall(r"heading: jl\.(\w+)", hooks.api()))
    assert listed == {name for name in jl.__all__ if not name.startswith("__")}


def test_nothing_names_a_machine():
    """No absolute paths of a machine and no registry addresses in the sources."""
    word = re.compile(r"""["' (=]/(?:work|farm|root|home|tmp)/|https?://[^ )"]*(?:pypi|simple)[^ )"]*/""")
    folders = ("jaxlatent", "tests", "docs", "examples", "benchmarks", "notebooks", "constraints", ".ci")
    texts = {".py", ".md", ".toml", ".yml", ".txt", ".cff", ".csv", ".ipynb", ""}
    files = [path for path in ROOT.iterdir() if path.suffix in texts]
    files += [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in texts]
    lines = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        if path.is_file() and path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if word.search(line)
    ]
    assert not lines
