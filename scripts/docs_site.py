"""What mkdocs is told beside mkdocs.yml (its `hooks`): pages that lie outside docs/, and notes above commands.

ARCHITECTURE.md and others at the top of the checkout become pages of the site, and links to them and from them lead
there, so that the same text can be read in the checkout. The mark `<!-- needs: gpu -->` above a block, which tests read
(tests/support/markdown.py), is shown to the reader.
"""

import pathlib
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).parents[1]
FROM_THE_TOP = {"ARCHITECTURE.md": "architecture.md", "SECURITY.md": "security.md", "README.zh-CN.md": "zh.md",
                "CHANGELOG.md": "changelog.md", "THIRD_PARTY_NOTICES.md": "notices.md"}  # fmt: skip
LINKED = {**FROM_THE_TOP, "README.md": "index.md"}
NEEDS = {
    "gpu": "an NVIDIA GPU",
    "network": "a network",
    "docker": "a Docker engine",
    "cloud": "a rented machine",
    "cluster": "a Ray cluster",
    "yours": "a checkpoint, run or server of your own",
    "hours": "hours",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, page in FROM_THE_TOP.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    for name, target in LINKED.items():
        markdown = re.sub(rf"\]\((?:\.\./)?{re.escape(name)}", f"]({target}", markdown)
    if page.file.src_uri in FROM_THE_TOP.values():
        markdown = markdown.replace("](docs/", "](")
    return re.sub(r"^<!-- needs: ([\w, ]+) -->$", _note, markdown, flags=re.M)


def _note(mark: re.Match) -> str:
    words = [NEEDS[word.strip()] for word in mark[1].split(",")]
    return f"*Needs {' and '.join(words)}:*\n"
