"""Training steps of opensr-srgan, timed; started by `training_speed` with the peer's interpreter.

Reads settings as JSON from its first argument and prints one JSON object. Its own Lightning module
and trainer, float32, batches ready in memory, logging to nothing. Imports nothing of tests.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import time
import types
from typing import Any

os.environ.setdefault("WANDB_MODE", "disabled")


def main() -> None:
    """Time one setting."""
    wanted = json.loads(sys.argv[1])
    import torch

    torch.set_num_threads(wanted["threads"])
    torch.manual_seed(0)
    import opensr_srgan
    import pytorch_lightning as pl
    from opensr_srgan.model.SRGAN import SRGAN_model

    if importlib.util.find_spec("torchvision") is None:
        # Asked for by a loss that is not used here, and not to be had for every torch.
        sys.modules["torchvision"] = types.ModuleType("torchvision")
    model = SRGAN_model(config=_config(wanted))
    if wanted["networks"] == "skyscale":
        model.generator, model.discriminator = _our_networks(wanted)
    clock = _clock(pl, warmup=wanted["warmup"])
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=-1,
        max_epochs=1,
        limit_train_batches=wanted["warmup"] + wanted["steps"],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    # Its print of the model, and Lightning's words, are not for our table.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        trainer.fit(model, train_dataloaders=_batches(wanted))
    seconds = clock.ended - clock.started
    print(  # noqa: T201  # what it was started for
        json.dumps(
            {
                "version": opensr_srgan.__version__,
                "steps_per_s": wanted["steps"] / seconds,
                "generator": _count(model.generator),
                "discriminator": _count(model.discriminator),
            }
        )
    )


def _config(wanted: dict[str, Any]) -> dict[str, Any]:
    """SRResNet without batch normalisation, 3x3 at both ends: ours but for the bicubic base."""
    adversarial = wanted["phase"] == "adversarial"
    return {
        "Data": {"normalization": "identity"},
        "Model": {"in_bands": wanted["bands"]},
        "Training": {
            "pretrain_g_only": not adversarial,
            "g_pretrain_steps": 0 if adversarial else -1,
            "adv_loss_ramp_steps": 1,
            "EMA": {"enabled": True, "decay": 0.995},
            "Losses": {
                "adv_loss_beta": 0.02,
                "l1_weight": 1.0,
                "sam_weight": 0.0,
                "perceptual_weight": 0.0,
                "tv_weight": 0.0,
            },
        },
        "Generator": {
            "model_type": "SRResNet",
            "block_type": "res",
            "large_kernel_size": 3,
            "small_kernel_size": 3,
            "n_channels": wanted["channels"],
            "n_blocks": wanted["blocks"],
            "scaling_factor": wanted["scale"],
        },
        "Discriminator": {"model_type": "standard", "n_blocks": 8, "use_spectral_norm": False},
        "Optimizers": {"optim_g_lr": 1e-4, "optim_d_lr": 1e-4, "gradient_clip_val": 1.0},
        "Schedulers": {"metric": "generator/content_loss"},
        "Logging": {"num_val_images": 0, "wandb": {"enabled": False}},
    }


def _our_networks(wanted: dict[str, Any]) -> tuple[Any, Any]:
    """Our generator and discriminator, to be trained its way."""
    from torch import nn

    from models.config_networks import DiscriminatorConfig, GeneratorConfig
    from models.discriminators.registry import build_discriminator
    from models.generators.registry import build_generator

    class Flat(nn.Module):
        """One column of logits, as it wants them."""

        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Any) -> Any:
            return self.network(x)[0].reshape(-1, 1)

    bands, scale = wanted["bands"], wanted["scale"]
    generator = GeneratorConfig(
        name="srresnet", channels=wanted["channels"], blocks=wanted["blocks"]
    )
    judge = build_discriminator(DiscriminatorConfig(name="srgan"), bands=bands)
    return build_generator(generator, bands=bands, scale=scale), Flat(judge)


def _batches(wanted: dict[str, Any]) -> Any:
    import torch

    patch, fine = wanted["patch"], wanted["patch"] * wanted["scale"]
    ready = [
        (
            torch.rand(wanted["batch"], wanted["bands"], patch, patch),
            torch.rand(wanted["batch"], wanted["bands"], fine, fine),
        )
        for _ in range(16)
    ]
    count = wanted["warmup"] + wanted["steps"]

    class Cycle(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            return (ready[number % len(ready)] for number in range(count))

        def __len__(self) -> int:
            return count

    return torch.utils.data.DataLoader(Cycle(), batch_size=None)


def _clock(pl: Any, *, warmup: int) -> Any:
    class Clock(pl.Callback):  # type: ignore[misc, name-defined]
        started = ended = 0.0

        def on_train_batch_end(self, *given: Any, batch_idx: int = -1, **_: Any) -> None:
            number = given[4] if len(given) > 4 else batch_idx
            if number == warmup - 1:
                self.started = time.perf_counter()
            self.ended = time.perf_counter()

    return Clock()


def _count(network: Any) -> int:
    return sum(p.numel() for p in network.parameters())


if __name__ == "__main__":
    main()
