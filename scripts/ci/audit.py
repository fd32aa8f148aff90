"""What an attacker would look for: locked packages with known vulnerabilities, and keys in tracked files.

    audit.py packages    asks the package index's database of vulnerabilities; without a network it says so, and fails
    audit.py secrets     reads tracked files; needs nothing

Run by .venv-audit/bin/python (`make audit`, `make secrets`). Exits with 1 where something was found, 3 where nobody
could be asked.
"""

import json
import pathlib
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
BIN = pathlib.Path(sys.executable).parent
NO_ANSWER = 3
KNOWN = r"^(locks/.*\.txt|src/pirig/sim/assets_sha256\.txt|tests/data/.*)$"  # hashes, names of weights
WORDS = ("scan", "--disable-plugin", "HexHighEntropyString", "--exclude-files", KNOWN)  # digests are everywhere here


def packages() -> int:
    asked, unknown, found = 0, [], set()
    for lock in sorted((ROOT / "locks").glob("*.txt")):
        words = [BIN / "pip-audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off", "-f", "json"]
        done = subprocess.run([*words, "-r", lock], capture_output=True, text=True, check=False)
        try:
            rows: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
        except (ValueError, KeyError):
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            print(f"the database of vulnerabilities gives no answer for {lock.name}: {last[:300]}", file=sys.stderr)
            return NO_ANSWER
        for row in rows:
            asked += "vulns" in row
            unknown += [row["name"]] if "skip_reason" in row else []
            found |= {(lock.name, row["name"], row.get("version"), vuln["id"], ", ".join(vuln["fix_versions"]))
                      for vuln in row.get("vulns", [])}  # fmt: skip
    for name, package, version, vulnerability, mended in sorted(found):
        print(f"{name}: {package} {version} has {vulnerability}; mended in {mended or 'no version yet'}")
    print(f"{asked} locked packages looked up, {len(found)} vulnerabilities, {len(unknown)} that the database lacks")
    if unknown:
        print(
            f"not looked up: {', '.join(sorted(set(unknown))[:8])}, …; a mirror has packages and no vulnerabilities: "
            "run this where the package index itself can be reached",
            file=sys.stderr,
        )
    return 1 if found else NO_ANSWER if unknown else 0


def secrets() -> int:
    said = subprocess.run([BIN / "detect-secrets", *WORDS], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    rows = [row for file in json.loads(said.stdout)["results"].values() for row in file]
    for row in rows:
        print(f"{row['filename']}:{row['line_number']}: {row['type']}", file=sys.stderr)
    print("no keys in tracked files" if not rows else "take it out, or mark the line: # pragma: allowlist secret")
    return 1 if rows else 0


if __name__ == "__main__":
    sys.exit({"packages": packages, "secrets": secrets}[sys.argv[1]]())
