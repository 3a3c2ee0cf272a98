#!/usr/bin/env python3
"""Other people's Pusher libraries, unchanged, through their cases against a push server:
run.py '{"host", "port", "id", "key", "secret"}' [node | browser | python]. Each is installed
once, in fixed versions, into the cache folder. Ends with 1 when a case failed, with 3 when
libraries were missing."""

import json
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from matrix import install

# How a driver, and this program, ends when something is missing.
MISSING = 3


def node(driver):
    install.need("npm", "npm")
    packages = [HERE / "node" / name for name in ("package.json", "package-lock.json")]

    def make(folder):
        for package in packages:
            shutil.copy(package, folder)
        install.run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder)

    folder = install.made("push-node", packages, make)
    # A module finds its packages from its own place on.
    for module in (HERE / "node").glob("*.mjs"):
        shutil.copy(module, folder)
    return ["node", str(folder / driver)]


def python():
    install.need("python3", "python3-venv")
    requirements = HERE / "python" / "requirements.txt"

    def make(folder):
        install.run(["python3", "-m", "venv", folder])
        install.run([folder / "bin" / "pip", "install", "-q", "-r", requirements])

    folder = install.made("push-python", [requirements], make)
    return [str(folder / "bin" / "python"), "-u", str(HERE / "python" / "run.py")]


def main():
    listens = json.loads(sys.argv[1]).get("listen")
    drivers = {"node": lambda: node("hear.mjs" if listens else "run.mjs"), "browser": lambda: node("browser.mjs"), "python": python}
    drivers = {name: drivers[name] for name in sys.argv[2:] or drivers}
    failed = missing = False
    for name, command in drivers.items():
        try:
            command = command()
        except install.Missing as reason:
            print(f"skipped {name}: {reason}", flush=True)
            missing = True
            continue
        # Standard input says how long a page listens.
        stdin = None if sys.argv[2:] else subprocess.DEVNULL
        ended = subprocess.run([*command, sys.argv[1]], stdin=stdin).returncode
        missing = missing or ended == MISSING
        failed = failed or ended not in (0, MISSING)
    sys.exit(1 if failed else MISSING if missing else 0)


main()
