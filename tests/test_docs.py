"""The documents keep their promises: links lead somewhere, examples compile, versions agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import sciopt

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"")


def relative_links(text: str) -> list[str]:
    """Targets of Markdown and HTML links that point into the repository, without their anchors."""
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))
    targets = [markdown or html for markdown, html in LINK.findall(prose)]
    return [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]


def python_blocks(text: str) -> list[str]:
    return [code for language, code in FENCE.findall(text) if language == "python"]


def each_document() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def test_the_documents_exist() -> None:
    names = {str(path.relative_to(ROOT)) for path in DOCUMENTS}
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/architecture.md"} <= names


def test_links_and_code_are_recognised() -> None:
    text = '[a](b.md#c) ![d](e.png) [f](https://g.h) [i](#j) `[k](l.md)`\n<img src="m.png">\n```python\n[n](o)\n```\n'
    assert relative_links(text) == ["b.md", "e.png", "m.png"]
    assert python_blocks(text) == ["[n](o)\n"]


@each_document()
def test_relative_links_resolve(path: Path) -> None:
    missing = [target for target in relative_links(path.read_text("utf-8")) if not (path.parent / target).exists()]
    assert missing == [], f"{path} links to files that do not exist"


@each_document()
def test_python_examples_compile(path: Path) -> None:
    for code in python_blocks(path.read_text("utf-8")):
        compile(code, str(path), "exec")


def test_readme_shows_python() -> None:
    assert python_blocks((ROOT / "README.md").read_text("utf-8"))


def test_public_names_in_the_readme_exist() -> None:
    for code in python_blocks((ROOT / "README.md").read_text("utf-8")):
        for names in re.findall(r"^from sciopt import (.+)$", code, re.MULTILINE):
            for name in names.split(","):
                assert hasattr(sciopt, name.strip()), f"README imports {name.strip()} from sciopt"


def test_changelog_has_its_sections() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    unreleased = text.split("## [Unreleased]")[1].split("\n## ")[0]
    assert "### Numbers changed" in unreleased


def test_versions_agree() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    assert citation is not None
    assert {citation[1].strip('"'), sciopt.__version__} == {version}
