"""The settings of the server. They are read once from environment variables, and then passed on as an argument."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

PREFIX = "LOG10_SERVER_"
NO_UPPER_BOUND = 2**31 - 1


class SettingsError(Exception):
    """A setting can't be used. The text names its variable and says why."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The definition of a setting: its variable, its meaning and, for a number, the lowest and highest value."""

    variable: str
    meaning: str
    minimum: int = 0
    maximum: int = NO_UPPER_BOUND


def setting(variable: str, meaning: str, default: Any, *, minimum: int = 0, maximum: int = NO_UPPER_BOUND) -> Any:
    """A field of `Settings` or `Limits` that is read from the environment variable `variable`."""
    return field(default=default, metadata={"setting": Setting(variable, meaning, minimum, maximum)})


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the size of what clients send (docs/api.md, "Limits"). Lengths are in bytes of UTF-8.

    A limit on a value that is part of a database key can be lowered but not raised, because an index entry of Postgres
    can hold at most 2 704 bytes.
    """

    body_bytes: int = setting("LOG10_SERVER_MAX_BODY_BYTES", "size of a request's body", 8 << 20, minimum=1024)
    target_bytes: int = setting(
        "LOG10_SERVER_MAX_TARGET_BYTES",
        "length of a request's path and query",
        64 << 10,
        minimum=1024,
        maximum=16 << 20,
    )
    header_bytes: int = setting(
        "LOG10_SERVER_MAX_HEADER_BYTES", "size of a request's headers", 64 << 10, minimum=1024, maximum=16 << 20
    )
    # A batch is one transaction, in which all other writes wait. So these defaults are low (docs/operations.md,
    # "Batches").
    batch_rows: int = setting("LOG10_SERVER_MAX_BATCH_ROWS", "rows in a batch", 500, minimum=1, maximum=1_000_000)
    batch_links: int = setting(
        "LOG10_SERVER_MAX_BATCH_LINKS", "tags of all rows of a batch together", 2000, minimum=1, maximum=1_000_000
    )
    batch_bytes: int = setting("LOG10_SERVER_MAX_BATCH_BYTES", "size of a batch's body", 4 << 20, minimum=1024)
    nesting: int = setting("LOG10_SERVER_MAX_NESTING", "levels of nesting in JSON", 200, minimum=8, maximum=200)
    tags: int = setting("LOG10_SERVER_MAX_TAGS", "tags on a completion", 1000, minimum=1)
    selector_tags: int = setting("LOG10_SERVER_MAX_SELECTOR_TAGS", "tags in a selector", 100, minimum=1, maximum=1000)
    tag_bytes: int = setting("LOG10_SERVER_MAX_TAG_BYTES", "length of a tag", 8192, minimum=1)
    completion_ids: int = setting(
        "LOG10_SERVER_MAX_COMPLETION_IDS", "`completion_ids` of one feedback", 1000, minimum=1
    )
    id_bytes: int = setting("LOG10_SERVER_MAX_ID_BYTES", "length of a client-made id", 255, minimum=36, maximum=255)
    session_id_bytes: int = setting(
        "LOG10_SERVER_MAX_SESSION_ID_BYTES", "length of a session id", 512, minimum=36, maximum=512
    )
    name_bytes: int = setting("LOG10_SERVER_MAX_NAME_BYTES", "length of `name` and `failure_kind`", 4096, minimum=1)
    text_bytes: int = setting(
        "LOG10_SERVER_MAX_TEXT_BYTES", "length of `instruction`, `comment`, `failure_reason`", 1 << 20, minimum=1
    )
    matched_completions: int = setting(
        "LOG10_SERVER_MAX_MATCHED_COMPLETIONS", "highest `max_matched_completions`", 1000, minimum=1, maximum=100_000
    )
    page: int = setting("LOG10_SERVER_MAX_PAGE", "highest `limit` of a list", 1000, minimum=1, maximum=10_000)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an operator can set, with its default."""

    database_url: str = setting("DATABASE_URL", "SQLite file or Postgres database", "sqlite:///log10-server.db")
    host: str = setting("LOG10_SERVER_HOST", "address to listen on", "127.0.0.1")
    port: int = setting("LOG10_SERVER_PORT", "port to listen on; 0 takes a free one", 8000, maximum=65535)
    public_url: str = setting("LOG10_SERVER_PUBLIC_URL", "the server's address as its users see it", "")
    trusted_proxies: str = setting(
        "LOG10_SERVER_TRUSTED_PROXIES", "addresses whose `X-Forwarded-*` headers are believed, comma-separated", ""
    )
    access_log: bool = setting("LOG10_SERVER_ACCESS_LOG", "log a line for each request", False)
    database_wait: int = setting(
        "LOG10_SERVER_DATABASE_WAIT", "seconds that a start waits for Postgres to come up", 0, maximum=3600
    )
    first_token: str = setting(
        "LOG10_SERVER_FIRST_TOKEN", "value of the token that the first start makes (it is then not printed)", ""
    )
    first_organization_id: str = setting(
        "LOG10_SERVER_FIRST_ORGANIZATION_ID", "id of the organization that the first start makes", ""
    )
    readers: int = setting("LOG10_SERVER_READERS", "threads that read the database", 4, minimum=1, maximum=64)
    validators: int = setting(
        "LOG10_SERVER_VALIDATORS", "processes that validate costly schemas of an organization", 2, minimum=1, maximum=64
    )
    validation_ms: int = setting(
        "LOG10_SERVER_VALIDATION_MS",
        "milliseconds that validating one value may take",
        1000,
        minimum=10,
        maximum=60_000,
    )
    waiting_writes: int = setting(
        "LOG10_SERVER_MAX_WAITING_WRITES", "writes that may wait before more are refused with 503", 2000, minimum=1
    )
    waiting_bytes: int = setting(
        "LOG10_SERVER_MAX_WAITING_BYTES",
        "bytes of bodies and waiting writes before more are refused",
        64 << 20,
        minimum=1 << 20,
    )
    answer_bytes: int = setting(
        "LOG10_SERVER_MAX_ANSWER_BYTES",
        "bytes of long answers in memory; beyond it, further ones wait, and are then refused with 503",
        64 << 20,
        minimum=32 << 20,
    )
    max_connections: int = setting(
        "LOG10_SERVER_MAX_CONNECTIONS",
        "open connections; beyond it, the one that has been idle longest is closed",
        4096,
        minimum=16,
        maximum=1_000_000,
    )
    idle_timeout: int = setting(
        "LOG10_SERVER_IDLE_TIMEOUT",
        "seconds that a connection may be open without a request",
        65,
        minimum=1,
        maximum=86_400,
    )
    head_timeout: int = setting(
        "LOG10_SERVER_HEAD_TIMEOUT", "seconds that a request's line and headers may take", 30, minimum=1, maximum=3600
    )
    stall_timeout: int = setting(
        "LOG10_SERVER_STALL_TIMEOUT",
        "seconds without progress after which a client that sends a body, or reads an answer, is disconnected",
        60,
        minimum=1,
        maximum=3600,
    )
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings from `environ`. Variables that Kubernetes adds for a Service `log10-server` are ignored.

        Raises SettingsError for a value that can't be used, and for a name that has the prefix but is not a setting.
        """
        environ = {name: value for name, value in environ.items() if not is_service_link(name, value)}
        known = [info.variable for info, _ in described()]
        for variable in sorted(environ):
            if variable.startswith(PREFIX) and variable not in known:
                nearest = get_close_matches(variable, known, 1)
                raise SettingsError(
                    f"{variable} is not a setting of log10-server."
                    + (f" Did you mean {nearest[0]}?" if nearest else "")
                    + " `log10-server serve --help` lists the settings."
                )
        return cls(**_read(cls, environ), limits=Limits(**_read(Limits, environ)))


# Kubernetes gives each pod variables that describe the Services of its namespace. Their names begin with the name of
# the Service. For a Service named `log10-server` they begin with the prefix of our settings, and one is
# LOG10_SERVER_PORT.
_SERVICE_LINK = re.compile(
    rf"{PREFIX}(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]{{1,5}}_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://(\[[0-9A-Fa-f:.]+\]|[^][\s/:@]+):[0-9]{1,5}")


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes sets this variable for a Service called `log10-server`."""
    if name == f"{PREFIX}PORT":
        return _SERVICE_URL.fullmatch(value.strip()) is not None
    return _SERVICE_LINK.fullmatch(name) is not None


def described() -> list[tuple[Setting, Any]]:
    """Every setting with its default, in the order of the table in docs/settings.md."""
    return [
        (member.metadata["setting"], member.default)
        for holder in (Settings, Limits)
        for member in fields(holder)
        if "setting" in member.metadata
    ]


_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _read(holder: type[Settings | Limits], environ: Mapping[str, str]) -> dict[str, Any]:
    """The fields of `holder` that the environment sets. A blank variable counts as not set."""
    values: dict[str, Any] = {}
    for member in fields(holder):
        if "setting" not in member.metadata:
            continue
        info: Setting = member.metadata["setting"]
        text = environ.get(info.variable, "").strip()
        if text:
            values[member.name] = _value(info, member.default, text)
    return values


def _value(info: Setting, default: Any, text: str) -> Any:
    if isinstance(default, bool):
        if text.lower() not in _BOOLEANS:
            raise SettingsError(f"{info.variable} must be true or false, not {text!r}.")
        return _BOOLEANS[text.lower()]
    if isinstance(default, int):
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
        if not info.minimum <= number <= info.maximum:
            raise SettingsError(
                f"{info.variable} must be a whole number from {info.minimum} to {info.maximum}, not {text!r}."
            )
        return number
    return text
