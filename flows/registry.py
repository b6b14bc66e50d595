"""Models by name: from the registry, a run, a folder, or built in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.errors import FlowError, UsageError
from flows.run_notes import plain
from flows.tracking import check_reachable, describe_version, mlflow_client

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
    if (source := _stored(uri, "generator")) is not None:
        return source
    raise UsageError(
        f"model is {uri!r}; wanted models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID/generator, "
        f"a folder with generator.json, or one of {', '.join(BUILT_IN)}"
    )


def find_degrader(uri: str) -> ModelSource | None:
    """Resolve a degrader to a folder on this machine; None if the text names no kind of one.

    Raises
    ------
    FlowError
        If there is no such degrader.
    """
    return _stored(uri, "degrader")


def find_segmenter(uri: str) -> str:
    """Resolve what makes maps to a folder, or an ONNX file, on this machine.

    Raises
    ------
    UsageError
        If the text names no kind of segmenter.
    FlowError
        If there is no such one.
    """
    if Path(uri).suffix.lower() == ".onnx" and Path(uri).is_file():
        return str(Path(uri).resolve())
    source = _stored(uri, "segmenter")
    if source is None or source.folder is None:
        raise UsageError(
            f"segmenter is {uri!r}; wanted models:/NAME@ALIAS, models:/NAME/VERSION, "
            "runs:/ID/segmenter, a folder with segmenter.json, or an ONNX file"
        )
    return source.folder


def _stored(uri: str, kind: str) -> ModelSource | None:
    """A network of the registry, of a run, or in a folder."""
    if uri.startswith("models:/"):
        return _registered(uri)
    if uri.startswith("runs:/"):
        run_id = uri.removeprefix("runs:/").split("/")[0]
        return ModelSource(uri=uri, folder=_download(uri), run_id=run_id)
    folder = Path(uri)
    if (folder / f"{kind}.json").exists():
        return ModelSource(uri=uri, folder=str(folder.resolve()))
    return None


def find_version_of(uri: str) -> Any:
    """The registered version that ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION`` means.

    Raises
    ------
    FlowError
        If there is none.
    """
    from mlflow.exceptions import MlflowException

    check_reachable()  # MLflow's client would try for minutes
    client = mlflow_client()
    text = uri.removeprefix("models:/")
    try:
        if "@" in text:
            return client.get_model_version_by_alias(*text.split("@", 1))
        return client.get_model_version(*text.split("/", 1))
    except (MlflowException, TypeError) as error:
        raise FlowError(
            f"{uri}: no such model in {client.tracking_uri} ({error}); `skyscale train` registers "
            "one, and MLFLOW_TRACKING_URI says where to look"
        ) from error


def _registered(uri: str) -> ModelSource:
    version = find_version_of(uri)
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


def find_version(run_id: str, weights_sha256: str, name: str = MODEL_NAME) -> Any | None:
    """The version of a model that holds what a run made, if there is one.

    A run that is resumed after its end, only to send what a tracker had missed, must not appear
    twice. The version was judged where it has the tag ``promotion``.
    """
    for version in mlflow_client().search_model_versions(f"run_id = '{run_id}'"):
        same = version.tags.get("weights_sha256") == weights_sha256
        if version.name == name and same:
            return version
    return None


def register(
    run_id: str, tags: Mapping[str, Any], name: str = MODEL_NAME, artifact: str = "generator"
) -> str:
    """Register what a run made as a new version; see `challenge`.

    Parameters
    ----------
    tags : mapping
    name : str
        Of the registered model.
    artifact : str
        Folder among the run's artifacts.

    Returns
    -------
    str
        The version.
    """
    from mlflow.exceptions import MlflowException

    client = mlflow_client()
    try:
        client.create_registered_model(
            name, description="Networks that skyscale trained; see docs/ for the format."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        name,
        source=f"runs:/{run_id}/{artifact}",
        run_id=run_id,
        tags={k: str(v) for k, v in tags.items()},
    )
    return str(version.version)


def challenge(version: str, name: str = MODEL_NAME) -> None:
    """Give a version the alias ``challenger``."""
    mlflow_client().set_registered_model_alias(name, "challenger", version)


def champion_version() -> Any | None:
    """The version with the alias ``champion``, or None where there is none."""
    return _version_called("champion")


def challenger_version() -> Any | None:
    """The version with the alias ``challenger``, the last that was trained, or None."""
    return _version_called("challenger")


def versions_begun_as(version: str) -> list[Any]:
    """Versions whose training went on from a version, ``NAME/VERSION``."""
    begun = f"name = '{MODEL_NAME}' and tag.start_from = '{version}'"
    return list(mlflow_client().search_model_versions(begun))


def _version_called(alias: str) -> Any | None:
    from mlflow.exceptions import MlflowException

    try:
        return mlflow_client().get_model_version_by_alias(MODEL_NAME, alias)
    except MlflowException as error:
        # An alias or a model that is not there, and not a tracker that is away: then a challenger
        # must not be taken for the first.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def has_no_champion() -> bool:
    """Whether nobody is champion yet; a tracker that is away says nothing of that.

    Raises
    ------
    FlowError
        If the tracker cannot be reached.
    """
    check_reachable()
    return champion_version() is None


def champion() -> ModelSource | None:
    """The model with the alias ``champion``, or None where there is none.

    Raises
    ------
    FlowError
        If its files are gone.
    """
    if champion_version() is None:
        return None
    return find_model(f"models:/{MODEL_NAME}@champion")


def promote(version: str, reason: str) -> None:
    """Give a version the alias ``champion`` and write down why.

    In this order: what lacks its reason is judged again when its run is resumed.
    """
    mlflow_client().set_registered_model_alias(MODEL_NAME, "champion", version)
    _write_down(version, reason)


def keep_champion(version: str, reason: str, name: str = MODEL_NAME) -> None:
    """Write on a challenger why it was not promoted."""
    _write_down(version, reason, name)


def _write_down(version: str, reason: str, name: str = MODEL_NAME) -> None:
    """As a tag, for programs, and where people look first: the description."""
    describe_version(f"{name}/{version}", f"{plain(reason[:1].upper() + reason[1:])}.")
    mlflow_client().set_model_version_tag(name, version, "promotion", reason)
