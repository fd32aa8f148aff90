"""What a release consists of agrees with itself: version, changelog, citation, notices, bill of materials."""

import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys

import yaml

import pirig

ROOT = pathlib.Path(__file__).parents[1]
INSTALLED = (
    "libero",
    "checkpoints",
    "jax",
    "torch",
    "stack",
    "trackers",
    "ray",
    "build",
)  # lock files that users install


def locked(name):
    return re.findall(r"^([A-Za-z0-9_.-]+)==", (ROOT / f"locks/{name}.txt").read_text(), re.M)


def test_version_changelog_and_citation_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    sections = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert sections[0] == "Unreleased"
    assert sections[1] == citation["version"] == pirig.__version__
    assert importlib.metadata.version("pirig") == pirig.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", pirig.__version__)


def test_the_citation_has_what_its_schema_requires():
    """Citation File Format 1.2.0: cff-version, message, title, authors; each author a person or an entity."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["message"]
    assert citation["title"]
    assert citation["license"] == "Apache-2.0"
    for work in (citation, *citation["references"]):
        assert work["title"]
        assert work["authors"]
        assert all("name" in author or {"family-names", "given-names"} <= set(author) for author in work["authors"])
    assert all({"type", "title", "authors"} <= set(work) for work in citation["references"])


def test_notices_name_every_package_that_is_installed_with_its_licence():
    text = (ROOT / "THIRD_PARTY_NOTICES.md").read_text()
    rows = {name: licence for name, licence in re.findall(r"^\| ([a-z0-9_.-]+) \| [a-z, ]+ \| (.+) \|$", text, re.M)}
    rows = {name: licence for name, licence in rows.items() if name not in ("what", "package")}  # heads of tables
    needed = {name.lower().replace("_", "-") for lock in INSTALLED for name in locked(lock)} | {"torch"}
    assert needed <= rows.keys(), needed - rows.keys()
    assert rows.keys() <= needed, rows.keys() - needed
    assert all(licence.strip() and "UNKNOWN" not in licence for licence in rows.values())


def test_the_bill_of_materials_lists_what_is_installed():
    words = [sys.executable, ROOT / "scripts/sbom.py"]
    once, again = (subprocess.check_output(words, text=True) for _ in range(2))
    assert once == again
    document = json.loads(once)
    assert (document["bomFormat"], document["specVersion"], document["version"]) == ("CycloneDX", "1.6", 1)
    references = [component["bom-ref"] for component in document["components"]]
    assert len(references) == len(set(references))
    assert references == sorted(references)
    assert document["metadata"]["component"]["version"] == pirig.__version__
    by_name = {part["name"]: part for part in document["components"] if part["purl"].startswith("pkg:pypi/")}
    assert by_name["numpy"]["version"] == importlib.metadata.version("numpy")
    assert by_name["mujoco"]["licenses"]
    assert by_name["tyro"]["purl"].startswith("pkg:pypi/tyro@")
