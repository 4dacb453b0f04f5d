"""Checkpoints of a run: arrays and a manifest in one file, written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

KIND = "jaxlatent checkpoint"
FORMAT = 1
KEPT = 2
NAME = re.compile(r"step-(\d{12})\.checkpoint")
PARTS = ("model", "data", "settings")
DAMAGED = (zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError, OSError, EOFError, NotImplementedError)


class Restored(NamedTuple):
    """The newest good checkpoint: step, tree, notes of the run, and names of damaged files that were passed over."""

    step: int
    tree: Any
    notes: dict[str, Any]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run in a folder of its own; the last two are kept.

    about: what the run is, as {"model": ..., "data": ..., "settings": ...} of plain values (numbers, text, lists,
    mappings). A checkpoint with another model or other data or settings is refused.

    A file is written under another name, flushed to the disk and renamed, so that a run that is killed leaves the
    previous one. Arrays are stored bit for bit, random keys by their data.
    """

    folder: Path
    about: Mapping[str, Any]

    @staticmethod
    def at(folder: str | Path, about: Mapping[str, Any]) -> Checkpoints:
        """Checkpoints in a folder, which is made where there is none.

        Raises ValueError where the path is a file, or about is not of plain values.
        """
        path = Path(folder)
        if path.exists() and not path.is_dir():
            raise ValueError(f"Expected a folder for checkpoints; {path} is a file.")
        if set(about) - set(PARTS):
            raise ValueError(f"Expected about to describe {', '.join(PARTS)}; got {', '.join(about)}.")
        try:
            plain = json.loads(json.dumps(about, allow_nan=True))
        except (TypeError, ValueError) as error:
            raise ValueError(f"Expected about to hold numbers, text, lists and mappings ({error}).") from None
        path.mkdir(parents=True, exist_ok=True)
        return Checkpoints(path, plain)

    def save(self, step: int, tree: Any, notes: Mapping[str, Any] | None = None) -> Path:
        """Write a pytree of arrays, keys and numbers; older checkpoints but one are removed."""
        leaves, structure = jax.tree.flatten(tree)
        packed = [_packed(leaf) for leaf in leaves]
        manifest = {
            "kind": KIND, "format": FORMAT, "step": int(step), "about": self.about, "notes": dict(notes or {}),
            "structure": str(structure), "leaves": [kind for kind, _ in packed],
        }  # fmt: skip
        path = self.folder / f"step-{step:012d}.checkpoint"
        part = path.with_suffix(".part")
        with open(part, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                archive.writestr("manifest.json", json.dumps(manifest))
                for k, (_, array) in enumerate(packed):
                    with archive.open(f"{k}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync(self.folder)
        for old in self._files()[KEPT:]:
            old.unlink(missing_ok=True)
        for left in self.folder.glob("step-*.part"):
            left.unlink(missing_ok=True)
        return path

    def latest(self, like: Any) -> Restored | None:
        """The newest checkpoint that can be read, or None. like: a tree of the same structure, shapes and types.

        Arrays come back as NumPy arrays, random keys as keys, Python numbers as such.

        Raises
        ------
        ValueError
            It is of another model, other data or other settings, or its arrays have other shapes.
        """
        skipped = []
        for path in self._files():
            try:
                manifest, arrays = _read(path)
            except DAMAGED:
                skipped.append(path.name)
                continue
            self._check_about(path, manifest)
            tree = _tree(path, manifest, arrays, like)
            return Restored(manifest["step"], tree, manifest["notes"], tuple(skipped))
        return None

    def _files(self) -> list[Path]:
        return sorted((p for p in self.folder.iterdir() if NAME.fullmatch(p.name)), key=lambda p: p.name, reverse=True)

    def _check_about(self, path: Path, manifest: Mapping[str, Any]) -> None:
        for part in PARTS:
            found = difference(manifest["about"].get(part), self.about.get(part))
            if found is not None:
                where, then, now = found
                what = "other settings" if part == "settings" else "other data" if part == "data" else "another model"
                raise ValueError(
                    f"The checkpoint {path} is of {what}: {where or part} was {_short(then)} there and is {_short(now)}"
                    " here. Use another folder, or remove this one to start anew."
                )


def fingerprint(*arrays: Any) -> str:
    """A short text that tells arrays apart by their types, shapes and bits; None counts."""
    digest = blake2b(digest_size=16)
    for each in arrays:
        if each is None:
            digest.update(b"none")
            continue
        array = np.ascontiguousarray(each)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(repr(array.tolist()).encode() if array.dtype == object else array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def difference(then: Any, now: Any, where: str = "") -> tuple[str, Any, Any] | None:
    """The first place in which two structures of plain values differ, with both values; None where they don't."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*then, *now]):
            found = difference(then.get(key), now.get(key), f"{where}.{key}" if where else str(key))
            if found is not None:
                return found
        return None
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for k, (a, b) in enumerate(zip(then, now, strict=True)):
            found = difference(a, b, f"{where}[{k}]")
            if found is not None:
                return found
        return None
    same = type(then) is type(now) and (then == now or (then != then and now != now))
    return None if same else (where, then, now)


def _short(value: Any) -> str:
    text = "not given" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _kind(leaf: Any) -> dict[str, Any]:
    """What a leaf is, its shape and type."""
    if _is_key(leaf):
        return {"is": "key", "shape": list(leaf.shape), "type": str(jax.random.key_impl(leaf))}
    if isinstance(leaf, bool | int | float):
        return {"is": "number", "shape": [], "type": type(leaf).__name__}
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
        raise ValueError(f"Expected arrays, random keys and numbers in a checkpoint; got {leaf!r}.")
    return {"is": "array", "shape": list(leaf.shape), "type": str(leaf.dtype)}


def _packed(leaf: Any) -> tuple[dict[str, Any], np.ndarray]:
    """What a leaf is, and its bits as an array that needs no pickle."""
    kind = _kind(leaf)
    array = np.asarray(jax.random.key_data(leaf) if kind["is"] == "key" else leaf)
    if array.dtype.kind == "O":
        raise ValueError("Expected arrays of numbers in a checkpoint; got one of Python objects.")
    if array.dtype.kind == "V":  # bfloat16 and the like, which the format does not know
        array = np.frombuffer(array.tobytes(), np.uint8)
    return kind, array


def _unpacked(kind: Mapping[str, Any], array: np.ndarray) -> Any:
    if kind["is"] == "key":
        return jax.random.wrap_key_data(jax.numpy.asarray(array), impl=kind["type"])
    if kind["is"] == "number":
        return array.item()
    wanted = np.dtype(jax.numpy.dtype(kind["type"]))
    return array if array.dtype == wanted else array.view(wanted).reshape(kind["shape"])


def _read(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Manifest and arrays of a file; the zip's checksums are compared."""
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        if manifest["kind"] != KIND:
            raise ValueError("not a checkpoint")
        if manifest["format"] <= FORMAT:
            arrays = [
                np.load(BytesIO(archive.read(f"{k}.npy")), allow_pickle=False) for k in range(len(manifest["leaves"]))
            ]
    return manifest, arrays if manifest["format"] <= FORMAT else []


def _tree(path: Path, manifest: Mapping[str, Any], arrays: list[np.ndarray], like: Any) -> Any:
    if manifest["format"] > FORMAT:
        raise ValueError(
            f"{path} is in format {manifest['format']}, and this version reads format {FORMAT}: upgrade jaxlatent."
        )
    leaves, structure = jax.tree.flatten(like)
    kinds = [_kind(leaf) for leaf in leaves]
    if manifest["structure"] != str(structure):
        raise ValueError(f"The checkpoint {path} holds another kind of state, of another version or engine: remove it.")
    for k, (then, now) in enumerate(zip(manifest["leaves"], kinds, strict=True)):
        if then != now:
            raise ValueError(
                f"The checkpoint {path} holds other arrays: number {k + 1} is {then['type']}{then['shape']} there and"
                f" {now['type']}{now['shape']} here. Use another folder, or remove this one to start anew."
            )
    return jax.tree.unflatten(structure, [_unpacked(*each) for each in zip(manifest["leaves"], arrays, strict=True)])


def _sync(folder: Path) -> None:
    """Make a rename last, where folders can be flushed."""
    try:
        at = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(at)
    except OSError:
        pass
    finally:
        os.close(at)
