"""Models by name: from the registry, a run, a folder, or built in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.errors import FlowError, UsageError
from flows.tracking import mlflow_client

MODEL_NAME = "skyscale-generator"
BUILT_IN = ("nearest", "bicubic", "lanczos")


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """Where a generator is.

    Parameters
    ----------
    uri : str
        As the user gave it.
    folder : str or None
        Folder with the generator; None for a built-in method.
    run_id : str or None
        The MLflow run that trained it, where it is known.
    version : str or None
        Of the registered model.
    """

    uri: str
    folder: str | None
    run_id: str | None = None
    version: str | None = None


def find_model(uri: str) -> ModelSource:
    """Resolve a model to a folder on this machine.

    Raises
    ------
    UsageError
        If the text names no kind of model.
    FlowError
        If there is no such model.
    """
    if uri in BUILT_IN:
        return ModelSource(uri=uri, folder=None)
    if uri.startswith("models:/"):
        return _registered(uri)
    if uri.startswith("runs:/"):
        run_id = uri.removeprefix("runs:/").split("/")[0]
        return ModelSource(uri=uri, folder=_download(uri), run_id=run_id)
    folder = Path(uri)
    if (folder / "generator.json").exists():
        return ModelSource(uri=uri, folder=str(folder.resolve()))
    raise UsageError(
        f"model is {uri!r}; wanted models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID/generator, "
        f"a folder with generator.json, or one of {', '.join(BUILT_IN)}"
    )


def _registered(uri: str) -> ModelSource:
    from mlflow.exceptions import MlflowException

    client = mlflow_client()
    text = uri.removeprefix("models:/")
    try:
        if "@" in text:
            version = client.get_model_version_by_alias(*text.split("@", 1))
        else:
            version = client.get_model_version(*text.split("/", 1))
    except (MlflowException, TypeError) as error:
        raise FlowError(
            f"{uri}: no such model in {client.tracking_uri} ({error}); `skyscale train` registers "
            "one, and MLFLOW_TRACKING_URI says where to look"
        ) from error
    return ModelSource(
        uri=uri,
        folder=_download(version.source),
        run_id=version.run_id,
        version=f"{version.name}/{version.version}",
    )


def _download(uri: str) -> str:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    mlflow_client()
    try:
        return str(download_artifacts(artifact_uri=uri))
    except (MlflowException, OSError) as error:
        raise FlowError(f"{uri}: its files cannot be had ({error})") from error


def find_version(run_id: str, weights_sha256: str) -> str | None:
    """The version that holds a run's generator and was judged already, if there is one.

    A run that is resumed after its end, only to send what a tracker had missed, must not appear
    twice.
    """
    found = mlflow_client().search_model_versions(f"run_id = '{run_id}'")
    judged = [
        str(version.version)
        for version in found
        if version.name == MODEL_NAME
        and version.tags.get("weights_sha256") == weights_sha256
        and "promotion" in version.tags
    ]
    return judged[0] if judged else None


def register(run_id: str, tags: dict[str, Any]) -> str:
    """Register the generator of a run as a new version with the alias ``challenger``.

    Returns
    -------
    str
        The version.
    """
    from mlflow.exceptions import MlflowException

    client = mlflow_client()
    try:
        client.create_registered_model(
            MODEL_NAME, description="Generators that skyscale trained; see docs/ for the format."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        MODEL_NAME,
        source=f"runs:/{run_id}/generator",
        run_id=run_id,
        tags={k: str(v) for k, v in tags.items()},
    )
    client.set_registered_model_alias(MODEL_NAME, "challenger", version.version)
    return str(version.version)


def champion() -> ModelSource | None:
    """The model with the alias ``champion``, or None where there is none."""
    from mlflow.exceptions import MlflowException

    try:
        mlflow_client().get_model_version_by_alias(MODEL_NAME, "champion")
    except MlflowException:
        return None
    return find_model(f"models:/{MODEL_NAME}@champion")


def promote(version: str, reason: str) -> None:
    """Give a version the alias ``champion`` and write down why."""
    client = mlflow_client()
    client.set_registered_model_alias(MODEL_NAME, "champion", version)
    client.set_model_version_tag(MODEL_NAME, version, "promotion", reason)


def keep_champion(version: str, reason: str) -> None:
    """Write on a challenger why it was not promoted."""
    mlflow_client().set_model_version_tag(MODEL_NAME, version, "promotion", reason)
