"""Every setting, typed, in one place. Each is the environment variable ``CALLCENTER_<NAME>``.

No secret has a default: what is not given is generated at first start and kept under ``data_dir`` with mode 0600.
"""

from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

REPOSITORY = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """The settings of one process. Paths are absolute once read; ports of 0 mean "a free one, kept for restarts"."""

    model_config = SettingsConfigDict(env_prefix="CALLCENTER_", extra="ignore", frozen=True)

    # -- where things are ------------------------------------------------------------------------------------------
    data_dir: Path = Field(REPOSITORY / "var" / "data", description="database, recordings, spool, generated secrets")
    models_dir: Path = Field(REPOSITORY / "models", description="artefacts and their cards")
    dialplans_dir: Path = Field(REPOSITORY / "dialplans", description="Asterisk's configuration templates")
    asterisk_dir: Path = Field(
        REPOSITORY / "var" / "asterisk", description="our own Asterisk as scripts/setup unpacked it"
    )
    prompts_dir: Path = Field(REPOSITORY / "var" / "prompts", description="rendered prompts, 8 kHz A-law and WAV")

    # -- store and live events -------------------------------------------------------------------------------------
    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite in data_dir")
    database_patience_ms: int = Field(
        300,
        ge=10,
        description="a write of a live call that takes longer goes to the spool, and the call goes on",
    )
    redis_url: str = Field("", description="redis://…; empty: live events stay in this process")

    # -- the line --------------------------------------------------------------------------------------------------
    asterisk: Literal["own", "external", "none"] = Field(
        "own", description="own: started by us; external: yours, see docs/asterisk.md; none: no line at all"
    )
    lines: tuple[str, ...] = Field(("12319",), description="the numbers dialled that are this hotline")
    demo_line: bool = Field(False, description="true only for the demo, whose caller is the synthetic voice")
    sip_host: str = Field("127.0.0.1", description="address our own Asterisk listens on")
    sip_port: int = Field(0, ge=0, le=65535)
    rtp_first_port: int = Field(20000, ge=1024, le=65535, description="callers' and agents' sound: first UDP port")
    rtp_last_port: int = Field(29999, ge=1024, le=65535, description="last UDP port; two for each voice, below 32768")
    trunk_match: tuple[str, ...] = Field(
        ("127.0.0.2/32",), description="addresses or networks the carrier's trunk calls from"
    )
    agent_extensions: tuple[str, ...] = Field(("101", "102"), description="telephones of the agents")
    bridge_host: str = Field("127.0.0.1", description="address of FastAGI and AudioSocket; both are plain: loopback")
    agi_port: int = Field(0, ge=0, le=65535)
    audiosocket_port: int = Field(0, ge=0, le=65535)
    ami_host: str = Field("127.0.0.1")
    ami_port: int = Field(0, ge=0, le=65535)
    ami_user: str = Field("hotline")
    ami_secret: SecretStr = Field(SecretStr(""), description="required with an external Asterisk")
    recordings_dir: Path | None = Field(
        None, description="where Asterisk writes recordings; default data_dir/recordings"
    )
    queue_timeout_s: int = Field(
        60, ge=1, description="a citizen waits this long for an agent, then the machine listens"
    )
    statement_max_s: int = Field(180, ge=10, description="longest statement to the machine")
    statement_start_s: int = Field(12, ge=3, description="silence after the prompt before the machine asks again")

    # -- hearing ---------------------------------------------------------------------------------------------------
    speech_model: Path = Field(REPOSITORY / "models" / "cmn-synthetic", description="a Vosk model directory")
    speech_threads: int = Field(0, ge=0, description="decoding threads; 0: one a core")
    speech_max_legs: int = Field(0, ge=0, description="legs heard live; 0: as measured at start")
    utterance_silence_ms: int = Field(700, ge=200, description="silence that ends an utterance")
    statement_silence_ms: int = Field(2000, ge=500, description="silence that ends a statement to the machine")

    # -- routing ---------------------------------------------------------------------------------------------------
    router_model: str = Field("", description="version under models/router; empty: the promoted one")
    router_shadow: str = Field(
        "", description="a version under models/router that answers beside the live one, unheeded, to be judged"
    )
    blind_sample_every: int = Field(
        50, description="one case in so many (20 or more) is decided without the suggestion; 0: none"
    )
    drift_alarm: float = Field(
        0.1, gt=0, le=1, description="new words or another mix of matters beyond the usual by this share: a warning"
    )
    category_standard: str = Field("GB/T 30428.2-2013", description="the urban categories a case is filed under")

    # -- the city -----------------------------------------------------------------------------------------------------
    city_file: Path | None = Field(
        None, description="a TOML file of the city's limits, lamps and working hours (docs/deadlines.md); none: ours"
    )

    resident_looks_per_hour: int = Field(
        200, ge=1, description="looks at people, houses and organisations that one person may take in an hour"
    )

    # -- jobs, lamps, messages --------------------------------------------------------------------------------------
    job_first_wait_s: float = Field(5, gt=0, description="a failed job waits so long, then twice as long each time")
    job_longest_wait_s: float = Field(3600, gt=0, description="the longest wait between two attempts of a job")
    job_attempts: int = Field(12, ge=1, description="attempts after which a job is given up and somebody has to look")
    lamp_every_s: float = Field(15, gt=0, description="how often the lamps of cases are looked after")
    message_gateway: str = Field(
        "", description="where messages go: file (in data_dir), file:/path, https://…; empty: nowhere, all are withheld"
    )
    message_gateway_secret: SecretStr = Field(
        SecretStr(""), description="signs what an HTTP gateway gets (HMAC-SHA-256); required with one"
    )
    message_gateway_timeout_s: float = Field(10, gt=0, le=40, description="an answer of the gateway takes no longer")
    message_daily_limit: int = Field(5, ge=0, description="messages a day to one citizen; more are refused")
    message_unit_daily_limit: int = Field(200, ge=0, description="messages a day to one unit; more are refused")
    message_neutral_template: str = Field(
        "", description="sent instead for a confidential or emergency case; empty: nothing at all is sent"
    )

    # -- HTTP ------------------------------------------------------------------------------------------------------
    http_host: str = Field("127.0.0.1")
    http_port: int = Field(8080, ge=0, le=65535)
    public_url: str = Field("", description="how people reach the pages; empty: http://http_host:http_port")
    session_hours: int = Field(12, ge=1, description="a sign-in lasts this long")
    track_days: int = Field(
        90, ge=1, le=3660, description="where collectors and vehicles were is kept this long, in days"
    )

    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("data_dir", "models_dir", "dialplans_dir", "asterisk_dir", "prompts_dir", "speech_model")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @field_validator("blind_sample_every")
    @classmethod
    def _rare_enough(cls, every: int) -> int:
        if every and every < 20:
            raise ValueError(f"one case in {every} is too many to be decided without help: 20 or more, or 0 for none")
        return every

    @field_validator("trunk_match")
    @classmethod
    def _networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ip_network(value, strict=False)) for value in values)

    @cached_property
    def store_url(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'callcenter.db'}"

    @cached_property
    def recordings(self) -> Path:
        """The folder of recordings in force."""
        return (self.recordings_dir or self.data_dir / "recordings").absolute()

    @cached_property
    def spool(self) -> Path:
        """The folder of the fsynced spool."""
        return self.data_dir / "spool"
