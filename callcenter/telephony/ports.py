"""Ports that stay the same over a restart, so that an Asterisk which outlived the bridge finds it again."""

import json
import socket
from pathlib import Path


class Ports:
    """Free ports by name, remembered in ``file`` (JSON, name -> port)."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, int] = {}
        if file.exists():
            try:
                self._known = {str(name): int(port) for name, port in json.loads(file.read_text()).items()}
            except (ValueError, AttributeError) as error:
                raise ValueError(f"{file} is not a list of ports: delete it, and new ones are chosen") from error

    def keep(self, name: str, wanted: int = 0, host: str = "127.0.0.1") -> int:
        """``wanted`` if it is not 0, else the remembered port, else a free one of ``host``, remembered."""
        if wanted:
            return wanted
        if name not in self._known:
            with socket.socket() as probe:
                probe.bind((host, 0))
                self._known[name] = probe.getsockname()[1]
            partial = self._file.with_suffix(".new")
            partial.write_text(json.dumps(self._known))
            partial.replace(self._file)
        return self._known[name]
