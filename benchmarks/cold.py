"""What a user waits for at the start: the command line without and with compiled programs on disk, and the import."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import Fact, Options, Result, summarise, timed
from benchmarks.models import THREE_FACTORS, holzinger_swineford
from benchmarks.peers import ROOT

CHI_SQUARE = "85.306"  # as the summary prints it
IMPORT = "import jaxlatent as jl; jl.SEM"
OWN_CACHES = ("JAXLATENT_NO_CACHE", "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")
MOST = 5  # runs of a whole process


def command_line() -> list[str]:
    """The console script beside this interpreter, or the module it calls."""
    script = Path(sys.executable).with_name("jaxlatent")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "jaxlatent.cli"]


def process(command: list[str], cache: str | Path) -> tuple[float, str]:
    """Wall seconds and output of a process whose cache folder is this one. Raises RuntimeError where it fails."""
    environment = {k: v for k, v in os.environ.items() if k not in OWN_CACHES} | {"XDG_CACHE_HOME": str(cache)}
    took, done = timed(
        lambda: subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[-1]!r} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return took, done.stdout


def fit_command(folder: Path) -> list[str]:
    """jaxlatent fit on Holzinger-Swineford, written to this folder first."""
    data = folder / "holzinger_swineford.csv"
    holzinger_swineford().to_csv(data, index=False)
    return [*command_line(), "fit", THREE_FACTORS, str(data)]


def _chi_square(outputs: list[str]) -> Fact:
    right = all(CHI_SQUARE in output for output in outputs)
    return Fact(f"prints lavaan's chi-square {CHI_SQUARE}: {'yes' if right else 'NO'}", right)


def measure_first(options: Options) -> Result:
    """Each run with an empty cache folder of its own; a run before, not counted, fills the disk cache of the system."""
    times, outputs = [], []
    with tempfile.TemporaryDirectory() as name:
        command = fit_command(Path(name))
        for k in range(1 + min(options.repeat, 3)):
            took, output = process(command, Path(name) / f"cache{k}")
            times.append(took)
            outputs.append(output)
    return Result(summarise(times[1:]), (_chi_square(outputs),))


def measure_again(options: Options) -> Result:
    """Runs that find the programs of an earlier run on disk."""
    with tempfile.TemporaryDirectory() as name:
        command, cache = fit_command(Path(name)), Path(name) / "cache"
        first, output = process(command, cache)
        runs = [process(command, cache) for _ in range(min(options.repeat, MOST))]
        programs = sum(1 for path in cache.rglob("*") if path.is_file())
    facts = (_chi_square([output, *(text for _, text in runs)]), Fact(f"{programs} files in the cache", programs > 0))
    return Result(summarise([took for took, _ in runs], first), facts)


def measure_import(options: Options) -> Result:
    """A fresh interpreter that imports jaxlatent and touches jl.SEM; the bare interpreter is measured beside it."""
    with tempfile.TemporaryDirectory() as name:
        first, _ = process([sys.executable, "-c", IMPORT], name)
        times = [process([sys.executable, "-c", IMPORT], name)[0] for _ in range(min(options.repeat, MOST))]
        bare = process([sys.executable, "-c", "pass"], name)[0]
    return Result(summarise(times, first), (Fact(f"of it {bare * 1e3:.0f} ms the bare interpreter"),))
