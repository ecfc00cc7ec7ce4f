"""The root of all settings: a TOML file, then RIVERRUN_* variables, then the command line.

Packages declare their own part (`trainer.settings`, `serving.settings`, `streaming.settings`)
and take it as an argument; nothing below `riverrun` reads a file or the environment for it.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any
from urllib.parse import urlsplit

from croniter import CroniterBadDateError, croniter
from pydantic import (
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from feature_repo.file_urls import file_of, file_url
from feature_repo.first_error import UNKNOWN_KEY, FirstError
from feature_repo.history import DEFAULT_MAX_LENGTH
from feature_repo.open_online_features import without_password
from feature_repo.settings_model import SettingsModel
from riverrun.errors import UserError
from riverrun.settings_variables import PREFIX, no_json, refuse_unknown_variables
from riverrun.unknown_settings import advice
from serving.settings import GrpcSettings, HttpSettings, ServingSettings
from streaming.settings import StreamingSettings
from trainer.ranking.service_settings import ServiceSettings
from trainer.refresh.drift_settings import DriftSettings
from trainer.refresh.gate_settings import OF_TEXTS, GateSettings
from trainer.settings import TrainingSettings

DEFAULT_FILE = Path("riverrun.toml")
FILES_IN_HOME: Mapping[str, Any] = MappingProxyType(
    {"log_url": "", "online_url": "", "state_url": ""}
)
"""Overrides for shops made to be looked at: whatever the settings name, only `home` is written."""


class RefreshSettings(SettingsModel):
    """When the model is renewed, and what a new one must reach to serve.

    schedule: a cron expression in UTC, such as `30 3 * * *`; empty renews only when asked to.
    keep: how many bundles stay, the newest; the one that serves and the one to roll back to are
        never deleted.
    gates: what a new one must reach to serve. drift: when events are too far from the model.
    """

    schedule: str = ""
    keep: Annotated[int, Field(ge=1)] = 5
    gates: GateSettings = GateSettings()
    drift: DriftSettings = DriftSettings()

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, schedule: str) -> str:
        if not schedule:
            return schedule
        # croniter reads more: a sixth field would be seconds, a seventh years.
        fields = 1 if schedule.startswith("@") else 5
        if len(schedule.split()) != fields or not croniter.is_valid(schedule):
            raise ValueError("must be a cron expression of five fields, or empty")
        try:
            croniter(schedule).get_next()
        except CroniterBadDateError:
            raise ValueError("must be a cron expression of a date that comes, or empty") from None
        return schedule


class Settings(BaseSettings):
    """Everything that can be set. Unknown keys are refused.

    `home` holds one shop. `online_url` is `sqlite:///FILE` or `redis://HOST:PORT/DB`, a database
    that no other shop uses; `log_url` is `log:///FILE` or
    `kafka://HOST:PORT[,HOST:PORT...][/PREFIX]`; unset, both are files in `home`. `state_url` is
    like `online_url`; unset, it is a file in `home`, or the online store's Redis where a broker is
    the log. `history_length`: so many of a user's newest events are kept, by which lists are made;
    `training.history_length`, of which the two-tower reads the newest, may not be more.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    home: Path = Path(".riverrun")
    online_url: str = ""
    log_url: str = ""
    state_url: str = ""
    history_length: Annotated[int, Field(ge=1, le=4096)] = DEFAULT_MAX_LENGTH
    http: HttpSettings = HttpSettings()
    grpc: GrpcSettings = GrpcSettings()
    training: TrainingSettings = TrainingSettings()
    refresh: RefreshSettings = RefreshSettings()
    serving: ServingSettings = ServingSettings()
    streaming: StreamingSettings = StreamingSettings()

    # The file that was named; the one that lies there is found again by itself.
    _file: Path | None = PrivateAttr(default=None)

    @field_validator("log_url", "online_url", "state_url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        try:
            urlsplit(url)
        except ValueError as error:
            raise ValueError(f"{error}. Received: {without_password(url)!r}.") from None
        return url

    @model_validator(mode="after")
    def _what_is_read_is_kept(self) -> "Settings":
        training = self.training
        if training.history_length <= self.history_length:
            return self
        if "history_length" in training.model_fields_set:
            raise ValueError(
                f"training.history_length: must be at most history_length, since no more of a "
                f"user's events are kept. Received: {training.history_length} and "
                f"{self.history_length}."
            )
        # Nobody has asked for more: the default goes as far as there is something to read. Frozen
        # for everybody else.
        kept = training.model_copy(update={"history_length": self.history_length})
        object.__setattr__(self, "training", kept)
        return self

    @model_validator(mode="after")
    def _gates_are_measured(self) -> "Settings":
        gates, rank = self.refresh.gates, self.training.text.lora_rank
        named = [*gates.max_loss, *gates.min_gain, *gates.min_value]
        of_texts = [name for name in named if name.endswith(f"/{OF_TEXTS}")]
        if rank and of_texts:
            raise ValueError(
                f"refresh.gates: must name no {OF_TEXTS} where training.text.lora_rank is above 0: "
                f"each training reads texts in its own way. Received: {of_texts[0]!r} and {rank}."
            )
        return self

    @property
    def service_settings(self) -> ServiceSettings:
        """What a training is told of the service that will make lists of its bundle."""
        return ServiceSettings(self.serving, self.streaming.co_visitation, self.history_length)

    @property
    def options(self) -> str:
        """What a command line must say for another command to work on the same shop."""
        file = [] if self._file is None else ["--settings", str(self._file)]
        return shlex.join(["--home", str(self.home), *file])

    @property
    def archive(self) -> Path:
        """Parquet files of all events, items and users."""
        return self.home / "archive"

    @property
    def features(self) -> Path:
        """Feast's offline store: what training joins its examples with."""
        return self.home / "features"

    @property
    def bundles(self) -> Path:
        """Published models, one folder per version."""
        return self.home / "bundles"

    @property
    def checkpoints(self) -> Path:
        """What an interrupted training goes on from."""
        return self.home / "training"

    @property
    def tuning(self) -> Path:
        """What searches for settings have tried."""
        return self.home / "tuning"

    @property
    def registry(self) -> Path:
        """Feast's registry."""
        return self.home / "registry.db"

    @property
    def text_embeddings(self) -> Path:
        """The cache of text embeddings, keyed by model and text."""
        return self.home / "text-embeddings.sqlite"

    @property
    def online_store_url(self) -> str:
        """Where the online features live."""
        return self.online_url or self._url("sqlite", "online.sqlite")

    @property
    def online_is_remote(self) -> bool:
        """Whether the online features live in a server."""
        return urlsplit(self.online_store_url).scheme == "redis"

    @property
    def event_log_url(self) -> str:
        """Where events and items are appended."""
        return self.log_url or self._url("log", "log.sqlite")

    @property
    def embedded_log(self) -> Path | None:
        """The file of the embedded log, or None where a broker is the log.

        Raises `UserError` where its URL is none.
        """
        if urlsplit(self.event_log_url).scheme != "log":
            return None
        try:
            return file_of(self.event_log_url)
        except ValueError as error:
            raise UserError(str(error)) from error

    @property
    def stream_state_url(self) -> str:
        """Where the stream worker's state and positions are."""
        if self.state_url:
            return self.state_url
        if self.online_is_remote and self.embedded_log is None:
            return self.online_url
        return self._url("sqlite", "checkpoint.sqlite")

    @property
    def state_is_remote(self) -> bool:
        """Whether the stream worker's state lives in a server."""
        return urlsplit(self.stream_state_url).scheme == "redis"

    def _url(self, scheme: str, name: str) -> str:
        return file_url(scheme, self.home.absolute() / name)


def load_settings(file: Path | None = None, **overrides: Any) -> Settings:
    """Return the settings of `file` (default: ./riverrun.toml if present), environment, overrides.

    An override of None counts as not given. Raises `UserError` naming the key and the value.
    """
    if file is not None and not file.is_file():
        raise UserError(f"settings file {file}: no such file.")
    toml_file = file or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)

    class _FileSettings(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (
                init_settings,
                env_settings,
                TomlConfigSettingsSource(settings_cls, toml_file=toml_file),
            )

    refuse_unknown_variables(Settings)
    try:
        loaded = _FileSettings(**{key: v for key, v in overrides.items() if v is not None})
    except ValidationError as error:
        first = FirstError.of(error)
        source = f"settings ({toml_file})" if toml_file else "settings"
        line = ": ".join(filter(None, (source, first.key, first.statement)))
        if first.reason == UNKNOWN_KEY:
            line += advice(Settings.model_construct(), first.key)
        raise UserError(line) from None
    except SettingsError as error:
        raise UserError(no_json(Settings, error)) from None
    except ValueError as error:  # tomllib.TOMLDecodeError is one
        raise UserError(f"settings file {toml_file}: {error}.") from None
    loaded._file = file
    if loaded.home.exists() and not loaded.home.is_dir():
        raise UserError(f"settings: home: must be a folder. Received: {str(loaded.home)!r}.")
    return loaded


def with_warm_start(settings: Settings, **changes: Any) -> Settings:
    """Return the settings with others of `training.warm_start`."""
    training = settings.training
    warm_start = training.warm_start.model_copy(update=changes)
    training = training.model_copy(update={"warm_start": warm_start})
    return settings.model_copy(update={"training": training})
