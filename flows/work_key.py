"""By what a flow run that was cut off finds again what it had begun."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from flows.settings import worker_flow_run


def work_key(stage: str, config: Any) -> str | None:
    """Key of a piece of work, the same in each try of the flow run that it belongs to.

    Parameters
    ----------
    stage : str
        Name of the flow.
    config : dataclass
        Its parameters.

    Returns
    -------
    str or None
        None where no worker runs this process: then nothing is tried again by itself.

    Notes
    -----
    Prefect gives a flow that another flow calls a new id each time that its caller is tried again;
    the run that the worker has started keeps its own.
    """
    run = worker_flow_run()
    if run is None:
        return None
    told = json.dumps([run, stage, asdict(config)], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:32]
