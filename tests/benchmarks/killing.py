"""Two ingests at once into one store, 100 rounds, one or both killed at a random moment.

Each process writes pairs of scenes of its own and of scenes that both have, part by part, commits,
and goes on where the store says it stands. In each round one or both are killed by SIGKILL. At the
end both run undisturbed to their end; the store has to verify and to have the digest of one that
nobody disturbed. Nothing is repaired by hand.
"""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from geo.pairstore.config import StoreConfig
from geo.pairstore.rows import PairData, pair_identity
from geo.pairstore.store import PairStore
from geo.pairstore.verify import verify_store
from tests.benchmarks.pixels import make_pairs

ROUNDS, SCENES, CHIPS = 100, 240, 24
CONFIG = StoreConfig(bands=("red", "green", "blue"), lr_size=16)


def run(write: Callable[[str], None]) -> None:
    """Print what was killed and what came of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(story(folder, rounds=ROUNDS, scenes=SCENES))


def story(folder: Path, *, rounds: int, scenes: int, url: str | None = None) -> str:
    """Kill writers of a store again and again; returns what happened, or raises."""
    rng = random.Random(3)
    store = PairStore.create_or_open(url or folder / "disturbed", CONFIG)
    killed: Counter[str] = Counter()
    progress = []
    for _ in range(rounds):
        writers = [_start(store.url, who, scenes) for who in ("0", "1")]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        time.sleep(rng.uniform(0.02, 0.5))
        victims = rng.choice(([0], [1], [0, 1]))
        for index in victims:
            state = "finished" if writers[index].poll() is not None else "killed"
            killed[state] += 1
            writers[index].send_signal(signal.SIGKILL)
        time.sleep(rng.uniform(0, 0.1))
        for writer in writers:
            writer.kill()
            writer.wait()
            assert writer.stdout is not None
            writer.stdout.close()
        progress.append(store.count_pairs())
    for who in ("0", "1"):
        done = _start(store.url, who, scenes)
        done.communicate()
        assert done.returncode == 0, f"writer {who} failed"
    verdict = verify_store(store)
    calm = PairStore.create_or_open(folder / "undisturbed", CONFIG)
    for who in (0, 1):
        work(calm, who, scenes)
    assert verdict.is_well, verdict.damages
    assert store.digest() == calm.digest(), "another digest than undisturbed"
    assert all(a <= b for a, b in itertools.pairwise(progress)), "pairs were lost"
    return (
        f"{rounds} rounds, {killed['killed']} writers killed at work ({killed['finished']} were "
        f"done already); {verdict.pairs} pairs, all well, digest as undisturbed; "
        f"{verdict.strays} parts left over for expiry; {store.version} commits."
    )


def _start(url: str, who: str, scenes: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.benchmarks.killing", url, who, str(scenes)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def work(store: PairStore, who: int, scenes: int) -> None:
    """Pair what the store does not have; every third scene is asked for by both writers."""
    pixels = list(make_pairs(CHIPS, bands=3, lr_size=16))
    order = [n for n in range(scenes) if n % 3 == 2 or n % 2 == who]
    if who:
        order.reverse()
    for scene in order:
        satellite, aerial = f"sat{scene}", f"air{scene % 7}"
        known = store.known("settings", satellite, aerial)
        rows = []
        for first in range(0, CHIPS, 8):
            batch = [
                PairData(
                    row={
                        "identity": pair_identity(satellite, aerial, "EPSG:32633", scene, n, 4),
                        "kind": "pair",
                        "settings_digest": "settings",
                        "satellite_id": satellite,
                        "aerial_id": aerial,
                        "row": scene,
                        "col": n,
                    },
                    lr=pixels[n].lr + scene,
                    hr=pixels[n].hr,
                    valid=pixels[n].valid,
                )
                for n in range(first, first + 8)
            ]
            batch = [pair for pair in batch if pair.row["identity"] not in known]
            rows += store.write_part(batch)
        store.commit(rows, f"writer {who}")


if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    work(PairStore.open(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
