"""What an environment holds, as CycloneDX 1.6 JSON: Python packages, and the distribution's packages where dpkg is.

Run by the interpreter in question, which may be an image's; needs nothing else:

    .venv/bin/python scripts/sbom.py >dist/sbom-environment.json                    make sbom
    docker run --rm -i --network none --entrypoint python IMAGE - <scripts/sbom.py  make sbom-images

The same environment gives the same bytes: no clock is in it.
"""

import importlib.metadata
import json
import pathlib
import shutil
import subprocess
import sys
import urllib.parse
import uuid
from typing import Any

Component = dict[str, Any]


def main() -> None:
    found = {component["bom-ref"]: component for component in [*python_packages(), *debian_packages()]}
    components = [found[reference] for reference in sorted(found)]
    about = {"type": "application", "name": "pirig", "version": version(), "licenses": [{"expression": "Apache-2.0"}]}
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([about, components]))}",
        "version": 1,
        "metadata": {"component": about},
        "components": components,
    }
    json.dump(document, sys.stdout, indent=1)
    print()


def version() -> str:
    """Pirig's own; it is no component of itself."""
    try:
        return importlib.metadata.version("pirig")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def python_packages() -> list[Component]:
    return [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name.lower().replace('_', '-')}@{urllib.parse.quote(found.version)}",
            "name": name,
            "version": found.version,
            "purl": f"pkg:pypi/{name.lower().replace('_', '-')}@{urllib.parse.quote(found.version)}",
            **licences(found.metadata),
        }
        for found in importlib.metadata.distributions()
        if (name := found.metadata["Name"]) and name != "pirig"
    ]


def licences(metadata: importlib.metadata.PackageMetadata) -> Component:
    """As the package says: an SPDX expression, else its own words."""
    fields = metadata.json
    if expression := fields.get("license_expression"):
        return {"licenses": [{"expression": expression}]}
    kinds = [row for row in fields.get("classifier", []) if row.startswith("License ::")]
    said = [row.rpartition(" :: ")[2] for row in kinds] or str(fields.get("license", "")).splitlines()[:1]
    return {"licenses": [{"license": {"name": name}} for name in said if name]}


def debian_packages() -> list[Component]:
    if not shutil.which("dpkg-query"):
        return []
    rows = pathlib.Path("/etc/os-release").read_text().splitlines()
    release = {key: value.strip('"') for key, _, value in (row.partition("=") for row in rows)}
    words = ["dpkg-query", "--show", "--showformat", "${Package}\t${Version}\t${Architecture}\n"]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    found = []
    for name, its_version, architecture in (row.split("\t") for row in listed):
        distribution = f"{release['ID']}-{release.get('VERSION_ID', 'unknown')}"
        place = f"pkg:deb/{release['ID']}/{name}@{urllib.parse.quote(its_version)}"
        purl = f"{place}?arch={architecture}&distro={distribution}"
        found.append({"type": "library", "bom-ref": purl, "name": name, "version": its_version, "purl": purl})
    return found


if __name__ == "__main__":
    main()
