"""What the tests of several processes start in each of them: a small DCN with hints, trained on images drawn anew.

Afterwards each image is looked at with cells, and with a k, of its own.

Arguments: epochs, the run's folder, where what came of it is written, and the step at which process 1 kills itself.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dcnlib import CoarseLayers, DynamicCapacityNetwork, FineLayers, TopLayers, TrainingSettings, evaluate, fit
from dcnlib.training.processes import current


def data(count: int, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.rand(count, 1, 40, 40, generator=generator), torch.arange(count) % 10)


def main(epochs: str, folder: str, out: str, dies_at: str) -> None:
    torch.manual_seed(0)
    model = DynamicCapacityNetwork(coarse=CoarseLayers(), fine=FineLayers(), top=TopLayers(), k=2, hint_weight=0.1)
    if int(dies_at) >= 0 and os.environ.get("RANK") == "1":
        loss, steps = model.loss, iter(range(10**6))

        def lethal(*batch: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            if next(steps) == int(dies_at):
                os.kill(os.getpid(), signal.SIGKILL)
            return loss(*batch)

        model.loss = lethal  # type: ignore[method-assign]
    settings = TrainingSettings(epochs=int(epochs), batch_size=8, device="cpu", learning_rate=1e-3)
    validation = data(20, 2)
    record = fit(model, data(32, 1), validation, settings, run_dir=folder, name="processes")
    for each in ({"cells": torch.arange(40).reshape(20, 2)}, {"k": torch.arange(20) % 3}):
        for images in (validation, DataLoader(validation, 3)):
            alone = evaluate(model, images, batch_size=3, **each)  # type: ignore[arg-type]
            shared = evaluate(model, images, batch_size=3, processes=current(), **each)  # type: ignore[arg-type]
            assert (shared.loss, shared.wrong.tolist()) == (alone.loss, alone.wrong.tolist()), each
    if os.environ.get("RANK", "0") == "0":
        Path(out).write_text(json.dumps(record))
        torch.save(nn.Module.state_dict(model), out + ".pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
