"""Gets the clients: each kind of them once, into the cache folder, with its language's own
package manager. A client that cannot be had is missing with a reason; the rest still runs."""

import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "courant" / "clients"


class Missing(Exception):
    """The client cannot be run here; the text says why."""


def need(command, package):
    if not shutil.which(command):
        raise Missing(f"{command} is missing; install it with: apt-get install {package}")


def run(command, **options):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        last = " / ".join(done.stdout.strip().splitlines()[-3:])
        raise Missing(f"{' '.join(map(str, command[:3]))} failed: {last}")
    return done.stdout


def made(kind, sources, make):
    """The folder of a kind of clients, made anew when what it is made from has changed."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    folder = CACHE / f"{kind}-{digest.hexdigest()[:12]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{kind}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "made").touch()
    return folder


def python(driver):
    need("python3", "python3-venv")
    requirements = HERE / "python" / "requirements.txt"

    def make(folder):
        run(["python3", "-m", "venv", folder])
        run([folder / "bin" / "pip", "install", "-q", "-r", requirements])

    folder = made("python", [requirements], make)
    return [str(folder / "bin" / "python"), "-u", str(HERE / "python" / driver)]


def kcat():
    need("kcat", "kcat")
    return ["python3", "-u", str(HERE / "python" / "kcat.py")]


def node(driver):
    need("npm", "npm")
    packages = HERE / "node" / "package.json"

    def make(folder):
        shutil.copy(packages, folder)
        run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"], cwd=folder)

    folder = made("node", [packages], make)
    # A module finds its packages from its own place on.
    for module in ("wire.mjs", driver):
        shutil.copy(HERE / "node" / module, folder)
    return [str(folder / "node_modules" / ".bin" / "node"), str(folder / driver)]


def kafka_jars():
    script = HERE.parent / "scripts" / "kafka"
    done = subprocess.run([script, "jars"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise Missing(" / ".join(done.stderr.strip().splitlines()[-2:]))
    return done.stdout.strip()


def java():
    need("javac", "openjdk-17-jdk-headless")
    jars, source = kafka_jars(), HERE / "java" / "Driver.java"
    folder = made("java", [source, HERE / "java" / "pom.xml"], lambda folder: run(["javac", "-d", folder, "-cp", f"{jars}/*", source]))
    return ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp", f"{folder}:{jars}/*", "Driver"]


def go():
    need("go", "golang")
    sources = [HERE / "go" / name for name in ("go.mod", "go.sum", "main.go")]
    folder = made("go", sources, lambda folder: run(["go", "build", "-o", folder / "franz", "."], cwd=HERE / "go"))
    return [str(folder / "franz")]


# Name in the table, and how its driver is started.
CLIENTS = {
    "kcat": kcat,
    "confluent-kafka": lambda: python("confluent.py"),
    "kafka-python": lambda: python("kafkapython.py"),
    "aiokafka": lambda: python("aio.py"),
    "kafkajs": lambda: node("kafkajs.mjs"),
    "@platformatic/kafka": lambda: node("platformatic.mjs"),
    "Java client": java,
    "franz-go": go,
}
