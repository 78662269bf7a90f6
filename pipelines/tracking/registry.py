"""MLflow's registry: the versions of a model, and which of them is the champion.

Each version's tags say what was decided about it and why.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from cuhs.errors import CuhsError
from pipelines.tracking.mlflow_store import connect, does_not_answer

CHAMPION = "champion"
# Tags of a version. OVER names the champion that it was promoted over, 0 if there was none.
DATA_VERSION, MODEL, VALUE = "cuhs.data_version", "cuhs.model", "cuhs.value"
DECISION, REASON, OVER = "cuhs.decision", "cuhs.reason", "cuhs.promoted_over"

# How MLflow names a version, by its alias or its number.
NAMED = re.compile(r"models:/([^/@]+)(?:@(.+)|/(\d+))")
NOT_THERE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


def run_of(client: MlflowClient, name: str) -> str:
    """The id of the run that ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION`` came from; other names as they are.

    Raises:
        MlflowException: there is no such version, or the registry does not answer.
    """
    if not (match := NAMED.fullmatch(name)):
        return name
    model, alias, number = match.groups()
    version = client.get_model_version_by_alias(model, alias) if alias else client.get_model_version(model, number)
    return str(version.run_id)


@dataclass(frozen=True)
class Registered:
    """A registered version of a model."""

    version: ModelVersion

    def __str__(self) -> str:
        return f"version {self.number} of {self.version.name}"

    @property
    def number(self) -> int:
        """The version's number, counted from 1."""
        return int(self.version.version)

    @property
    def tags(self) -> dict[str, str]:
        """The tags at the time when the version was read."""
        return dict(self.version.tags)

    @property
    def run_id(self) -> str:
        """The MLflow run that holds its evaluation."""
        return str(self.version.run_id)

    def download(self, folder: Path) -> Path:
        """Download the model; returns the folder with its weights and card, somewhere below ``folder``.

        Raises:
            CuhsError: the version holds no weights.
        """
        from mlflow.artifacts import download_artifacts

        client = connect()
        # Given `models:/…`, MLflow would ask whichever server this process named last.
        where = client.get_model_version_download_uri(self.version.name, str(self.number))
        root = download_artifacts(where, dst_path=str(folder), tracking_uri=client.tracking_uri)
        for weights in sorted(Path(root).rglob("model.safetensors")):
            if weights.is_file() and not weights.is_symlink():
                return weights.parent
        raise CuhsError(f"{self}: the registry holds no model.safetensors for it; register it again")


class Registry:
    """One registered model.

    Args:
        name: the model's name in the registry.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.client: MlflowClient = connect()

    def champion(self) -> Registered | None:
        """The version that has the alias ``champion``; none if no version has it.

        Raises:
            CuhsError: the registry does not answer.
        """
        try:
            return Registered(self.client.get_model_version_by_alias(self.name, CHAMPION))
        except Exception as error:  # also of the registry's driver, which is opened only now
            if isinstance(error, MlflowException) and error.error_code in NOT_THERE:
                return None
            raise does_not_answer(error) from error

    def versions(self) -> list[Registered]:
        """All versions, oldest first.

        Raises:
            CuhsError: the registry does not answer.
        """
        found: list[ModelVersion] = []
        token: str | None = None
        try:
            while token is None or token:
                page = self.client.search_model_versions(f"name = '{self.name}'", page_token=token)
                found, token = found + list(page), page.token or ""
        except Exception as error:
            raise does_not_answer(error) from error
        return sorted((Registered(version) for version in found), key=lambda registered: registered.number)

    def version(self, number: int) -> Registered:
        """The version with this number.

        Raises:
            CuhsError: there is no such version.
        """
        for registered in self.versions():
            if registered.number == number:
                return registered
        raise CuhsError(f"{self.name}: the registry has no version {number}")

    def tag(self, number: int, tags: dict[str, str]) -> None:
        """Set tags of a version."""
        for key, value in tags.items():
            self.client.set_model_version_tag(self.name, str(number), key, value)

    def crown(self, number: int) -> None:
        """Make a version the champion, without looking at others."""
        self.client.set_registered_model_alias(self.name, CHAMPION, str(number))

    def promote(self, challenger: int, over: int) -> int:
        """Make a challenger that is better than champion ``over`` the champion.

        If several challengers beat the same champion at the same time, the one with the highest value of the metric
        wins, in whatever order they come. Each challenger looks again after it has written, until it has written what
        follows from all that it sees. Whoever writes last has therefore seen all the others.

        Returns:
            The number of the version that is the champion now.
        """
        self.tag(challenger, {OVER: str(over)})
        winner, crowned = challenger, 0
        while winner != crowned:
            self.crown(winner)
            crowned = winner
            rivals = [version for version in self.versions() if version.tags.get(OVER) == str(over)]
            winner = max(rivals, key=lambda rival: (float(rival.tags[VALUE]), -rival.number)).number
        return winner

    def roll_back(self, number: int | None = None) -> tuple[Registered, Registered]:
        """Make an earlier version the champion again.

        Args:
            number: the earlier version; by default the one that the champion was promoted over.

        Returns:
            The previous champion and the new one.

        Raises:
            CuhsError: there is no champion, no champion before it, or no such version.
        """
        champion = self.champion()
        if champion is None:
            raise CuhsError(f"{self.name}: the registry has no champion to roll back from")
        before = number or int(champion.tags.get(OVER, 0))
        if before in (0, champion.number):
            raise CuhsError(f"{self.name}: there is no champion before {champion}; name one: --rollback VERSION")
        earlier = self.version(before)
        self.crown(earlier.number)
        # Without this tag, it takes part in no later decision.
        self.client.delete_model_version_tag(self.name, str(champion.number), OVER)
        self.tag(champion.number, {DECISION: "rolled back", REASON: f"rolled back to version {before}"})
        self.tag(before, {DECISION: CHAMPION, REASON: f"champion again by a rollback from version {champion.number}"})
        return champion, earlier
