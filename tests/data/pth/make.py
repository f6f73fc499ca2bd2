"""Small files as PyTorch writes them, with what is in them as numbers that follow from names.

usage: python make.py        (PyTorch 2; writes beside itself)
"""

from collections import OrderedDict
from pathlib import Path

import torch

HERE = Path(__file__).parent


def ramp(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """0, 1/8, 2/8, ... in row-major order: exact in every type."""
    count = int(torch.tensor(shape).prod())
    return (torch.arange(count) / 8).reshape(shape).to(dtype)


def main() -> None:
    whole = ramp(4, 6)
    arrays = OrderedDict(
        plain=ramp(2, 3, 2, 2),
        half=ramp(5, dtype=torch.float16),
        brain=ramp(5, dtype=torch.bfloat16),
        double=ramp(3, dtype=torch.float64),
        turned=ramp(3, 4).t(),
        part=whole[1:3, 2:5],
        parameter=torch.nn.Parameter(ramp(2)),
        number=torch.tensor(0.125),
        num_batches_tracked=torch.tensor(7),
    )
    torch.save(arrays, HERE / "plain.pth")
    torch.save(arrays, HERE / "legacy.pth", _use_new_zipfile_serialization=False)
    wrapped = OrderedDict((f"module.{name}", tensor) for name, tensor in arrays.items())
    torch.save({"epoch": 3, "optimizer": {"lr": 1e-3}, "state_dict": wrapped}, HERE / "wrapped.pth")
    torch.save(torch.nn.Linear(2, 1), HERE / "whole_model.pth")


if __name__ == "__main__":
    main()
