"""``callcenter …``: the commands. Each imports its room only when it is called, so that none is slow for another."""

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from callcenter.settings import Settings
from callcenter.storage.engine import StoreError
from callcenter.telephony.asterisk_state import AsteriskError
from callcenter.telephony.dialplan import DialplanError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="callcenter", description="An open telephony hotline for cities.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="answer the line, the API and the pages until told to stop")
    serve.add_argument(
        "--roles",
        default="all",
        choices=["all", "web"],
        help="all: the whole hotline; web: API and pages without a line",
    )

    route = commands.add_parser("route", help="texts on stdin, one a line, to routings on stdout, one JSON a line")
    route.add_argument("--standard", help="standard of the urban categories (default: CALLCENTER_CATEGORY_STANDARD)")

    evaluate = commands.add_parser("evaluate", help="judge the router on a labelled file")
    evaluate.add_argument(
        "file", type=Path, help="TSV with the columns id text domain, if known major minor acceptable"
    )
    evaluate.add_argument("--json", action="store_true")
    evaluate.add_argument("--urban-prior", type=float, help="share of urban matters; default: as trained")

    train = commands.add_parser("train", help="make a candidate version of the router")
    train.add_argument("--with", dest="with_files", metavar="FILE.tsv", type=Path, action="append", default=[])
    train.add_argument("--name", help="the version's name (default: by date and content)")

    learning = commands.add_parser("learning", help="what agents decided, as rows to train on")
    lessons = learning.add_subparsers(dest="action", required=True, metavar="ACTION")
    lessons.add_parser("export", help="write them to a file for train --with").add_argument(
        "--out", type=Path, required=True, metavar="FILE.tsv"
    )
    lessons.add_parser("check", help="name the versions that learned from calls erased since").add_argument(
        "--scrub", type=Path, action="append", default=[], metavar="FILE.tsv", help="take such rows out of this file"
    )

    lists = commands.add_parser("lists", help="what the city fills in: responsibility and patrol lists")
    add_list = lists.add_subparsers(dest="action", required=True, metavar="ACTION").add_parser(
        "import", help="a CSV (UTF-8 or GBK) as the list's next version; refused as a whole when a row is wrong"
    )
    add_list.add_argument("file", type=Path, metavar="FILE.csv")
    add_list.add_argument("--name", default="", help="of the list, where there are several")
    add_list.add_argument("--patrol", action="store_true", help="a patrol list, not a responsibility list")
    add_list.add_argument("--since", default="", metavar="YYYY-MM-DD", help="first day in force (default: now)")

    city = commands.add_parser("city", help="what the city knows of itself: areas, units, places, parts, people")
    ground = city.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_city = ground.add_parser("import", help="CSV, XLSX or GeoJSON as the next version; all or nothing")
    add_city.add_argument(
        "kind", help="areas, units, places, addresses, assets, houses, people, organisations, cameras …"
    )
    add_city.add_argument("file", type=Path)
    add_city.add_argument("--datum", default="", help="of the file's degrees: wgs84, cgcs2000 or gcj02")
    add_folder = ground.add_parser("import-folder", help="the files of a whole city, each under its own name")
    add_folder.add_argument("folder", type=Path)
    add_folder.add_argument("--datum", default="wgs84", help="of all files: wgs84, cgcs2000 or gcj02")
    ground.add_parser("history", help="what was imported")
    ground.add_parser("go-back", help="take the version before into force again").add_argument("kind")

    models = commands.add_parser("models", help="versions of the router, and speech models to fetch")
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="what there is")
    for action in ("show", "promote"):
        actions.add_parser(action).add_argument("version")
    actions.add_parser("rollback", help="go back to the version promoted before")
    fetch = actions.add_parser("fetch", help="download an official Vosk model, checked and resumable")
    fetch.add_argument("name", nargs="?", default="vosk-model-small-cn-0.22")
    fetch.add_argument("--sha256", help="expected SHA-256 of the archive, where the project does not know it")
    fetch.add_argument("--accept-unverified", action="store_true", help="take an archive whose SHA-256 is not known")
    fetch.add_argument("--from", dest="base_url", help="a mirror in place of the publisher's site")

    transcribe = commands.add_parser("transcribe", help="a recording to text")
    transcribe.add_argument("file", type=Path)
    transcribe.add_argument("--model", type=Path, help="a Vosk model directory (default: CALLCENTER_SPEECH_MODEL)")
    transcribe.add_argument("--json", action="store_true")

    commands.add_parser("doctor", help="what is missing, and how to mend it")
    commands.add_parser("settings", help="every setting with its value; secrets are not shown")
    asterisk = commands.add_parser("asterisk", help="configuration for an Asterisk of yours")
    render = asterisk.add_subparsers(dest="action", required=True, metavar="ACTION").add_parser("render")
    render.add_argument("--out", type=Path, required=True, help="folder that gets hotline/*.conf")
    render.add_argument("--sounds", type=Path, required=True, help="your Asterisk's folder of Chinese sounds")
    render.add_argument("--spool", type=Path, required=True, help="your Asterisk's astspooldir")
    return parser


def _serve(settings: Settings, arguments: argparse.Namespace) -> int:
    from callcenter.logs import configure
    from callcenter.runtime import serve

    configure(settings.log_level)
    if arguments.roles == "web":
        settings = settings.model_copy(update={"asterisk": "none"})
    asyncio.run(serve(settings))
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from callcenter.insight.commands import remember_trained
    from classifier import commands
    from classifier.registry import Registry

    registry = Registry()
    before = registry.names()
    code = commands.train(arguments.with_files, arguments.name, sys.stdout)
    remember_trained(registry.folder, before, registry.names(), arguments.with_files)
    return code


def _models(settings: Settings, arguments: argparse.Namespace) -> int:
    if arguments.action == "fetch":
        from callcenter.speech.commands import fetch

        return fetch(
            arguments.name,
            settings.models_dir,
            sha256=arguments.sha256,
            accept_unverified=arguments.accept_unverified,
            base_url=arguments.base_url,
        )
    from classifier import commands

    if arguments.action == "list":
        return commands.models_list(sys.stdout)
    if arguments.action == "show":
        return commands.models_show(arguments.version, sys.stdout)
    if arguments.action == "promote":
        return commands.models_promote(arguments.version, sys.stdout)
    return commands.models_rollback(sys.stdout)


def _city(settings: Settings, arguments: argparse.Namespace) -> int:
    from callcenter.city import commands

    match arguments.action:
        case "import":
            return commands.import_file(settings, arguments.kind, arguments.file, sys.stdout, datum=arguments.datum)
        case "import-folder":
            return commands.import_folder(settings, arguments.folder, sys.stdout, datum=arguments.datum)
        case "go-back":
            return commands.go_back(settings, arguments.kind, sys.stdout)
        case _:
            return commands.history(settings, sys.stdout)


def _run(settings: Settings, arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "serve":
            return _serve(settings, arguments)
        case "route":
            from classifier import commands

            return commands.route(sys.stdin, sys.stdout, standard=arguments.standard or settings.category_standard)
        case "evaluate":
            from classifier import commands

            return commands.evaluate(
                arguments.file, as_json=arguments.json, out_stream=sys.stdout, urban_prior=arguments.urban_prior
            )
        case "train":
            return _train(arguments)
        case "learning":
            from callcenter.insight import commands as insight

            if arguments.action == "export":
                return insight.export(settings, arguments.out, sys.stdout)
            return insight.check(settings, arguments.scrub, sys.stdout)
        case "lists":
            from callcenter.cases.list_commands import import_file

            return import_file(
                settings,
                arguments.file,
                sys.stdout,
                name=arguments.name,
                patrol=arguments.patrol,
                since=arguments.since,
            )
        case "city":
            return _city(settings, arguments)
        case "models":
            return _models(settings, arguments)
        case "transcribe":
            from callcenter.logs import configure
            from callcenter.speech.commands import transcribe

            configure(settings.log_level)  # to stderr: stdout is the text
            return transcribe(arguments.file, model=arguments.model, as_json=arguments.json, out_stream=sys.stdout)
        case "doctor":
            from callcenter.doctor import examine

            return examine(settings, sys.stdout)
        case "settings":
            for name, field in Settings.model_fields.items():
                print(f"CALLCENTER_{name.upper()}={_shown(getattr(settings, name))}  # {field.description or ''}")
            return 0
        case _:
            from callcenter.telephony import external

            for path in external.render(settings, arguments.out, sounds=arguments.sounds, spool=arguments.spool):
                print(path)
            return 0


def _shown(value: object) -> str:
    """A setting as an environment variable would hold it, with the passwords of URLs starred."""
    if isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=False)
    return re.sub(r"(?<=://)([^:/@\s]*):[^@\s]*@", r"\1:***@", "" if value is None else str(value))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. An error the user can mend is one line on stderr and exit code 2."""
    arguments = _parser().parse_args(argv)
    try:
        return _run(Settings(), arguments)
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, RuntimeError, StoreError, AsteriskError, DialplanError) as error:
        print(f"callcenter: {error}", file=sys.stderr)
        return 2
