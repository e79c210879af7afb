"""``python -m classifier.benchmark``: make the misheard forms once; answer the texts with a version of the router."""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

from classifier.benchmark.score import NOISES, TEXTS, answers, score, show, texts
from classifier.noise import Noise

MISHEARD = TEXTS.with_name("misheard.tsv")
SEED = 12319


def misheard() -> Iterator[tuple[str, int, str]]:
    """(id, noise, text) of every form but the clean one, the same each time."""
    rows = texts()
    noise = Noise(row["text"] for row in rows)
    for share in NOISES[1:]:
        random = Random(SEED + share)  # noqa: S311 - reproducible, not secret
        for row in rows:
            yield row["id"], share, noise.replace(row["text"], share / 100, random)


def forms() -> Iterator[tuple[str, int, str]]:
    """(id, noise, text) of every stored form."""
    for row in texts():
        yield row["id"], 0, row["text"]
    with MISHEARD.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield row["id"], int(row["noise"]), row["text"]


def main() -> int:
    """Run one action; exit code 0."""
    parser = argparse.ArgumentParser(prog="python -m classifier.benchmark", description=__doc__)
    parser.add_argument("action", choices=["noise", "answer", "figures"])
    parser.add_argument("--model", help="version, or the folder of one; default: the promoted one")
    parser.add_argument("--out", type=Path, help="figures: also write them to this file as JSON")
    chosen = parser.parse_args()
    if chosen.action == "noise":
        with MISHEARD.open("w", encoding="utf-8", newline="") as file:
            file.write("id\tnoise\ttext\n")
            file.writelines(f"{name}\t{noise}\t{text}\n" for name, noise, text in misheard())
        return 0
    from classifier.router import Router

    router = Router.load(chosen.model)
    lines = (
        json.dumps({"id": name, "noise": noise, **router.route(text).to_json()}, ensure_ascii=False)
        for name, noise, text in forms()
    )
    if chosen.action == "answer":
        sys.stdout.writelines(f"{line}\n" for line in lines)
        return 0
    results = {noise: score(given) for noise, given in sorted(answers(lines).items())}
    sys.stdout.write(show(results) + "\n")
    if chosen.out:
        made = {"model": router.version, "noise": {str(noise): result for noise, result in results.items()}}
        chosen.out.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
