"""Commands of the pages that the tests do not run, each with the reason.

They are parsed all the same (test_commands.py). A command is looked up by how it begins, on its
page or on any ("*"); one that is neither here nor run by test_following.py fails a test.
"""

from __future__ import annotations

from tests.docs.shell import Command

NOT_RUN = {
    "*": {
        "make ": "installs into .venv; `skyscale demo`, which `make demo` calls, is run",
        ". ": "the environment of the tests is active already",
        "echo ": "writes a file that the test lays down",
        "mlflow ui ": "serves until it is stopped; its options are held against its help",
        "skyscale up ": "serves until it is stopped",
        "skyscale study serve ": "serves until it is stopped; tests/end_to_end/test_study.py does",
        "dask ": "serves until it is stopped; tests/servers/dask_cluster.py runs both",
        "torchrun ": "wants several machines; tests/flows/test_train_job.py has two on one host",
        "scontrol ": "wants Slurm",
        "head ": "wants Slurm",
        "jq ": "reads what `--prepare --json` prints",
        "skyscale train --store s3:": "wants several machines and S3",
        "skyscale train --store /shared": "wants Slurm",
        "export MLFLOW_TRACKING_URI=http": "wants a server of that name",
        "export TORCH_": "for torchrun on several machines",
    },
    "docs/guides/operating.md": {
        "skyscale status ": "tests/end_to_end/test_servers.py runs it beside servers",
        "mail ": "stands for the reader's own way of being told",
        "pip install ": "the environment of the tests has it",
        "export SKYSCALE_": "for `skyscale up`; tests/end_to_end/test_servers_secured.py sets them",
    },
    "docs/guides/clusters.md": {
        "docker ": "tests/deploy/test_containers.py runs what an image holds, where Docker is",
        "kubectl ": "wants a cluster; tests/deploy/test_kubernetes_pool.py reads what it is told",
        "prefect ": "tests/deploy makes the pools, registers the deployments, starts a worker",
        "pip install ": "wants an image or a cluster; tests/deploy says what it leaves out without",
        "export ": "names servers of nobody's; tests/end_to_end/test_servers_secured.py sets them",
    },
    "docs/guides/studies.md": {
        "skyscale study results ": "wants raters; tests/end_to_end/test_study.py has some",
    },
    "docs/reference/commands.md": {
        "skyscale ": "examples with names of nobody's files; guides run the same options",
    },
}


def reason_not_to_run(command: Command) -> str | None:
    """Why a command is not run, if it is not."""
    starts = NOT_RUN["*"] | NOT_RUN.get(command.page, {})
    return next((why for how, why in starts.items() if f"{command} ".startswith(how)), None)
