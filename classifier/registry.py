"""The versions of the router: a folder each under models/router, a card in each, and one file that says which is live.

``promoted`` holds the live version on its first line and the ones before it below, so that a rollback knows where to
go. It is replaced in one rename: a reader sees the old or the new one, never half. A version's files are hashed in
its card and checked at every load.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifier import card as cards
from classifier import model
from classifier.model import Model, ModelError

DEFAULT_FOLDER = Path(__file__).resolve().parent.parent / "models" / "router"
CARD_FILE, PROMOTED_FILE, SHADOW_FILE = "card.json", "promoted", "shadow"
HISTORY = 20
"""Versions remembered for rollback."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Version:
    """One stored version and its card."""

    name: str
    promoted: bool
    card: dict[str, Any]


class Registry:
    """The versions in one folder (default: models/router of the repository)."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or DEFAULT_FOLDER

    def names(self) -> list[str]:
        """Every version with a card, by name."""
        if not self.folder.is_dir():
            return []
        return sorted(
            path.parent.name for path in self.folder.glob(f"*/{CARD_FILE}") if _NAME.fullmatch(path.parent.name)
        )

    def promoted(self) -> str | None:
        """The live version; None when there is none."""
        history = self._history()
        return history[0] if history else None

    def versions(self) -> list[Version]:
        """Every version with its card."""
        live = self.promoted()
        return [Version(name, name == live, self.card(name)) for name in self.names()]

    def card(self, name: str) -> dict[str, Any]:
        """The card of a version. Raises ModelError when there is no such version or its card is broken."""
        path = self._path(name) / CARD_FILE
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            known = ", ".join(self.names()) or "none; run train"
            raise ModelError(f"no router version {name!r} in {self.folder}: there is {known}") from None
        except ValueError as fault:
            raise ModelError(f"{path}: not a card: {fault}") from fault
        if not isinstance(card, dict):
            raise ModelError(f"{path}: not a card: a JSON object is needed")
        return card

    def load(self, name: str | None = None) -> tuple[str, Model]:
        """A version, or the live one. Raises ModelError when it is missing, broken, or not what its card says."""
        if name is None:
            name = self.promoted()
        if name is None:
            raise ModelError(f"no router version is promoted in {self.folder}: run train, then promote")
        card = self.card(name)
        folder = self._path(name)
        hashes = card.get("sha256")
        if not isinstance(hashes, dict) or set(hashes) != {model.WEIGHTS_FILE, model.PLAN_FILE}:
            raise ModelError(f"{folder / CARD_FILE}: sha256 must name {model.WEIGHTS_FILE} and {model.PLAN_FILE}")
        for file, expected in hashes.items():
            try:
                actual = hashlib.sha256((folder / file).read_bytes()).hexdigest()
            except OSError as fault:
                raise ModelError(f"router version {name}: cannot read {file}: {fault.strerror}") from fault
            if actual != expected:
                raise ModelError(
                    f"router version {name}: {file} has SHA-256 {actual}, its card says {expected}: restore it"
                )
        return name, model.load(folder)

    def store(self, name: str, made: Model, card: dict[str, Any]) -> Path:
        """Store a new version, whole or not at all, with its card for programs and for people; adds the hashes to
        ``card``. Raises ModelError if the name is
        taken.
        """
        target = self._path(name)
        if target.exists():
            raise ModelError(f"router version {name!r} exists already: choose another name")
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))
        try:
            model.save(made, folder)
            hashes = {
                file: hashlib.sha256((folder / file).read_bytes()).hexdigest()
                for file in (model.WEIGHTS_FILE, model.PLAN_FILE)
            }
            text = json.dumps({"version": name, **card, "sha256": hashes}, ensure_ascii=False, indent=1) + "\n"
            (folder / CARD_FILE).write_text(text, encoding="utf-8")
            for file, content in cards.files(name, card).items():
                (folder / file).write_text(content, encoding="utf-8")
            folder.chmod(0o755)
            folder.rename(target)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return target

    def next_name(self) -> str:
        """The first free name of v1, v2, …"""
        taken = set(self.names())
        return next(f"v{i}" for i in range(1, len(taken) + 2) if f"v{i}" not in taken)

    def promote(self, name: str) -> None:
        """Make a version live, after having loaded it once. Raises ModelError when it cannot be loaded."""
        self.load(name)
        history = [name, *(old for old in self._history() if old != name)]
        self._write(history[:HISTORY])

    def rollback(self) -> str:
        """Make the version before the live one live again, and return it. Raises ModelError when there is none."""
        history = self._history()
        if len(history) < 2:
            raise ModelError(
                f"nothing to roll back to in {self.folder}: {history[0] if history else 'no version'} is the first"
            )
        self.load(history[1])
        self._write(history[1:])
        return history[1]

    def shadow(self) -> str | None:
        """The version that answers beside the live one, scored on what agents confirm and obeyed by nobody; None when
        there is none.
        """
        try:
            return (self.folder / SHADOW_FILE).read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None

    def set_shadow(self, name: str | None) -> None:
        """Let a version run in the shadow, or none. Raises ModelError when it cannot be loaded."""
        if name is None:
            (self.folder / SHADOW_FILE).unlink(missing_ok=True)
            return
        self.load(name)
        self._write([name], SHADOW_FILE)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ModelError(f"{name!r} is no version name: letters, digits, dots, dashes, at most 64")
        return self.folder / name

    def _history(self) -> list[str]:
        try:
            return (self.folder / PROMOTED_FILE).read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return []

    def _write(self, history: list[str], file_name: str = PROMOTED_FILE) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{file_name}-", dir=self.folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write("\n".join(history) + "\n")
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(self.folder / file_name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
