"""Report names that do not say what they hold, and words that are not terms of the field.

    python scripts/lint_names.py [FILE OR FOLDER ...]

`make lint` runs it over the source, the tests, the benchmarks and the examples. It checks what ruff cannot see:

1. No name that code binds is one of `VAGUE` (`found`, `said`, …): such a name says that there is a value, and not what
   the value is. Underscores at its ends, and a unit at its end (`left_s`), do not change that.
2. No name that code binds has a word of `SYNONYMS` in it: each thing has one name, which is the standard term.
3. No docstring and no comment has a word of `SYNONYMS`, for the same reason.

Names of tests are sentences, so only rule 2 applies to them. Exit code: 0 without findings, 1 otherwise.
"""

import ast
import io
import pathlib
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence

FOLDERS = ("src", "tests", "benchmarks", "examples", "scripts")

VAGUE = frozenset(["found", "said", "asked", "own", "most", "there", "told", "wanted", "left", "apart", "seen"])

SYNONYMS = {
    "door": "endpoint, address or listener",
    "film": "video",
    "guest": "client, or worker on another host",
    "onlooker": "observer",
    "shelf": "directory",
    "sight": "attention mask",
    "visitor": "client connection",
}
"""A word that is not a term of the field, and the term to use."""

_PLURALS = {word: (word[:-1] + "ves" if word.endswith("f") else word + "s") for word in SYNONYMS}
_WORD = {form: word for word in SYNONYMS for form in (word, _PLURALS[word])}
_UNIT = re.compile(r"_(s|ms|us|m|rad|mib|gib|mb|gb)$")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def findings(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, message) for each name, docstring and comment that breaks a rule. Raises SyntaxError."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for name in _bound(node):
            if vague(name):
                yield line, f"the name {name!r} does not say what it holds"
            for word in synonyms(" ".join(_PARTS.findall(name))):
                yield line, f"the name {name!r} has {word!r}; the term is {SYNONYMS[word]}"
    for line, text in _prose(source, tree):
        for word in synonyms(text):
            yield line, f"the text has {word!r}; the term is {SYNONYMS[word]}"


def vague(name: str) -> bool:
    """Whether a name says nothing about its value (rule 1)."""
    bare = name.strip("_").lower()
    return bare in VAGUE or _UNIT.sub("", bare) in VAGUE


def synonyms(text: str) -> list[str]:
    """Return the words of SYNONYMS that occur in a text, in the singular, each once."""
    return list(dict.fromkeys(_WORD[word] for word in re.findall(r"[a-z]+", text.lower()) if word in _WORD))


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node of the syntax tree binds."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.ExceptHandler(name=str(name)):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (alias.asname for alias in names if alias.asname)


def _prose(source: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each docstring and comment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def main(arguments: Sequence[str]) -> int:
    """Check the files, or the Python files in the folders. Return the exit code."""
    places = [pathlib.Path(argument) for argument in arguments or FOLDERS]
    files = [file for place in places for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    count = 0
    for file in files:
        for line, message in sorted(set(findings(file.read_text()))):
            count += 1
            print(f"{file}:{line}: {message}")
    if count:
        print(f"{count} findings in {len(files)} files; scripts/lint_names.py lists the words", file=sys.stderr)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
