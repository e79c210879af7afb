"""``python -m classifier``: the router's commands without the call centre around them."""

import argparse
import sys
from collections.abc import Sequence

from classifier import commands


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m classifier", description="Route citizens' texts; make and judge models."
    )
    actions = parser.add_subparsers(dest="action", required=True)
    route = actions.add_parser("route", help="one text or JSON object a line on stdin, one JSON a line on stdout")
    route.add_argument("--standard", help="urban standard to answer in")
    route.add_argument("--model", help="version; default: the promoted one")
    evaluate = actions.add_parser("evaluate", help="judge a model on a labelled file")
    evaluate.add_argument("file")
    evaluate.add_argument("--json", action="store_true")
    evaluate.add_argument("--model", help="version; default: the promoted one")
    evaluate.add_argument("--urban-prior", type=float, help="share of urban matters; default: as trained")
    train = actions.add_parser("train", help="make a candidate")
    train.add_argument("--with", dest="with_files", action="append", default=[], metavar="FILE.tsv")
    train.add_argument("--name")
    models = actions.add_parser("models", help="list | show [VERSION] | promote VERSION | rollback")
    models.add_argument("what", choices=["list", "show", "promote", "rollback"])
    models.add_argument("version", nargs="?")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; 2 for what the user must mend, in one line on stderr."""
    parser = _parser()
    chosen = parser.parse_args(argv)
    try:
        if chosen.action == "route":
            return commands.route(sys.stdin, sys.stdout, standard=chosen.standard, version=chosen.model)
        if chosen.action == "evaluate":
            return commands.evaluate(
                chosen.file,
                as_json=chosen.json,
                out_stream=sys.stdout,
                version=chosen.model,
                urban_prior=chosen.urban_prior,
            )
        if chosen.action == "train":
            return commands.train(chosen.with_files, chosen.name, sys.stdout)
        if chosen.what == "list":
            return commands.models_list(sys.stdout)
        if chosen.what == "show":
            return commands.models_show(chosen.version, sys.stdout)
        if chosen.what == "rollback":
            return commands.models_rollback(sys.stdout)
        if not chosen.version:
            parser.error("models promote needs a version")
        return commands.models_promote(chosen.version, sys.stdout)
    except BrokenPipeError:
        return 0
    except (ValueError, OSError) as fault:
        sys.stderr.write(f"{fault}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
