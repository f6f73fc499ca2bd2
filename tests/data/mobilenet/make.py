"""Makes vectors.safetensors: a U-Net on MobileNetV2, forward and backward in f64, weights by the formula of ../golden/README.md, seed 1.

Needs torch, segmentation_models_pytorch, numpy and safetensors. Run it in this folder.
"""

import numpy as np
import segmentation_models_pytorch as smp
import torch
from safetensors.numpy import save_file

SEED = 1


def u(name, count):
    key = 0xCBF29CE484222325
    for byte in f"{SEED}/{name}".encode():
        key = ((key ^ byte) * 0x100000001B3) % 2**64
    z = np.uint64(key) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float64) - 2**23) / 2**23


def value(name, tensor, is_norm):
    v = u(name, tensor.numel())
    if tensor.dim() == 4:
        v = np.sqrt(3 / np.prod(tensor.shape[1:])) * v
    elif name.endswith("running_var"):
        v = 1 + 0.5 * np.abs(v)
    elif name.endswith("weight") and is_norm:
        v = 1 + 0.1 * v
    else:
        v = 0.1 * v
    return torch.from_numpy(v.astype(np.float32).astype(np.float64)).reshape(tensor.shape)


def summary(name, tensor):
    v = tensor.detach().flatten().numpy()
    return np.concatenate([[np.sqrt((v * v).sum()), (v * u(f"probe.{name}", v.size)).sum()], v[:8]])


def run(training):
    model = smp.Unet("mobilenet_v2", encoder_weights=None, classes=2)
    model.segmentation_head[0] = torch.nn.Conv2d(16, 2, 1, bias=False)
    model = model.double().train(training)
    for name, tensor in model.state_dict().items():
        if tensor.dim() > 0:
            tensor.copy_(value(name, tensor, tensor.dim() == 1))
    # Large enough that many values are cut off at 6.
    image = torch.from_numpy(20 * u("input", 2 * 3 * 64 * 64)).reshape(2, 3, 64, 64).requires_grad_()
    logits = model(image)
    (logits * torch.from_numpy(u("dlogits", logits.numel())).reshape(logits.shape)).sum().backward()
    found = {"logits": logits, "dinput": image.grad}
    found |= {f"grad.{name}": p.grad for name, p in model.named_parameters()}
    if training:
        found |= {f"stat.{name}": t for name, t in model.state_dict().items() if "running_" in name}
    return {name: summary(name.split(".", 1)[1] if "." in name else name, tensor) for name, tensor in found.items()}


both = {f"{kind}.{name}": v for kind in ["frozen", "train"] for name, v in run(kind == "train").items()}
save_file(both, "vectors.safetensors")
