"""An Asterisk that is not ours (``CALLCENTER_ASTERISK=external``): where it is, and the files it needs from us.

docs/asterisk.md tells the way; ``callcenter asterisk render --out DIR`` is ``render`` below.
"""

from pathlib import Path

from callcenter.settings import Settings
from callcenter.telephony import asterisk_state, dialplan, process
from callcenter.telephony.asterisk_state import AsteriskError
from callcenter.telephony.dialplan import AsteriskEndpoint, Place


def endpoint(settings: Settings) -> AsteriskEndpoint:
    """Where the settings say it is. The agents' passwords are made at the first call and kept.

    Raises AsteriskError naming the settings that are missing.
    """
    secret = settings.ami_secret.get_secret_value()
    given = {
        "CALLCENTER_AMI_SECRET": secret,
        "CALLCENTER_AMI_PORT": settings.ami_port,
        "CALLCENTER_AGI_PORT": settings.agi_port,
        "CALLCENTER_AUDIOSOCKET_PORT": settings.audiosocket_port,
        "CALLCENTER_RECORDINGS_DIR": settings.recordings_dir,
    }
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise AsteriskError(f"CALLCENTER_ASTERISK=external needs {', '.join(missing)}: see docs/asterisk.md")
    state = asterisk_state.load(settings)
    asterisk_state.save(settings, state)
    return AsteriskEndpoint(
        sip_host=settings.sip_host,
        sip_port=settings.sip_port or 5060,
        ami_host=settings.ami_host,
        ami_port=settings.ami_port,
        ami_user=settings.ami_user,
        ami_secret=secret,
        agents={extension: state.agents[extension] for extension in settings.agent_extensions},
        trunk_ip=dialplan.trunk_ip(settings),
    )


def render(settings: Settings, out: Path, *, sounds: Path, spool: Path) -> list[Path]:
    """Write ``hotline/*.conf`` below ``out``, mode 0600 (they hold passwords); returns the files.

    ``sounds`` is its folder of Chinese sounds, ``spool`` its ``astspooldir``. Raises AsteriskError, DialplanError and
    OSError.
    """
    place = Place(root=spool, installation=Path("/"), sounds=sounds, control=spool)
    known = dialplan.values(
        settings,
        endpoint(settings),
        place,
        agi_port=settings.agi_port,
        audiosocket_port=settings.audiosocket_port,
    )
    written = []
    for name, text in dialplan.render(settings.dialplans_dir, known, whole=False).items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        process.write_private(path, text)
        written.append(path)
    return written
