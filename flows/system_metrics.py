"""How busy the machine is, under the names that MLflow's UI shows as system metrics."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping

import psutil

_QUERY = "index,utilization.gpu,memory.used,memory.total,power.draw"
_MB = 1e6
_MIB = 1024**2 / _MB


def system_reader() -> Callable[[], Mapping[str, float]]:
    """Reader of this machine's load; of its GPUs too, where the driver's tool is there.

    The driver's own tool, because no process may look at another's GPU through torch without
    taking hundreds of megabytes of it.
    """
    psutil.cpu_percent()  # the first call only begins to count
    process = psutil.Process()
    gpus = shutil.which("nvidia-smi")

    def read() -> dict[str, float]:
        memory = psutil.virtual_memory()
        values = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / _MB,
            "system/system_memory_usage_percentage": 100 * memory.used / memory.total,
            "system/process_memory_usage_megabytes": process.memory_info().rss / _MB,
        }
        return values | (_ask_gpus(gpus) if gpus else {})

    return read


def _ask_gpus(tool: str) -> dict[str, float]:
    done = subprocess.run(
        [tool, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        timeout=5,
    )
    return parse_gpus(done.stdout)


def parse_gpus(table: str) -> dict[str, float]:
    """Metrics of each GPU from the table that ``nvidia-smi`` prints.

    What a GPU does not know (``[N/A]``) is left out.
    """
    values: dict[str, float] = {}
    for line in table.splitlines():
        index, *cells = (cell.strip() for cell in line.split(","))
        if not index.isdigit() or len(cells) != 4:
            continue
        use, used, total, power = (_number(cell) for cell in cells)
        found = {
            "utilization_percentage": use,
            "memory_usage_megabytes": None if used is None else used * _MIB,
            "memory_usage_percentage": None if used is None or not total else 100 * used / total,
            "power_usage_watts": power,
        }
        values |= {f"system/gpu_{index}_{n}": v for n, v in found.items() if v is not None}
    return values


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
