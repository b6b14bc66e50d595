from __future__ import annotations

import pickle

import pytest

from models import errors


@pytest.mark.parametrize(
    "kind",
    [
        errors.ModelError,
        errors.ConfigError,
        errors.DataError,
        errors.CheckpointError,
        errors.ExportError,
        errors.TrainingError,
    ],
)
def test_errors_survive_pickling_with_message_and_facts(kind: type[errors.ModelError]) -> None:
    error = kind("got 3, want 4", got=3)
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert isinstance(back, errors.ModelError)
    assert (str(back), back.message, back.facts) == ("got 3, want 4", "got 3, want 4", {"got": 3})
