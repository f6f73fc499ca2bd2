"""Deviation of gradients of PyTorch's bf16 autocast on the processor from its f32 gradients, on the case that `--bench gradients -- --write FILE` saves.

    python pytorch_gradients.py FILE

prints the same figures as the benchmark, with batch statistics (Train) and running statistics (Frozen).
"""
import json
import struct
import sys

import torch
from pytorch_step import UNet


def arrays(path):
    """Returns the arrays of a safetensors file of f32."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = bytearray(file.read())
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["dtype"] == "F32", name
            start, end = entry["data_offsets"]
            found[name] = torch.frombuffer(data[start:end], dtype=torch.float32).reshape(entry["shape"])
    return found


def name_of(key):
    """Returns the name of one of `UNet`'s parameters in checkpoints of this project."""
    parts = key.split(".")
    if parts[0] == "stem":
        return ".".join(["encoder", ["conv1", "bn1"][int(parts[1])], *parts[2:]])
    if parts[0] == "stages":
        return ".".join(["encoder", f"layer{int(parts[1]) + 1}", *parts[2:]])
    if parts[0] == "decoder":
        return ".".join(["decoder.blocks", parts[1], f"conv{int(parts[2]) + 1}", *parts[3:]])
    return ".".join(["segmentation_head.0", *parts[1:]])


def gradients(net, image, labels, bf16):
    net.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        logits = net(image).float()
    torch.nn.functional.cross_entropy(logits, labels, ignore_index=250).backward()
    return logits.detach().clone(), {name_of(key): p.grad.clone() for key, p in net.named_parameters()}


def relative(found, exact):
    return float((found - exact).double().norm() / exact.double().norm())


def main():
    given = arrays(sys.argv[1])
    image = given["image"].to(memory_format=torch.channels_last)
    labels = given["labels"].reshape(image.shape[0], *image.shape[2:]).long()
    decoder = [given[f"decoder.blocks.{i}.conv2.0.weight"].shape[0] for i in range(5)]
    net = UNet(decoder, width=given["encoder.conv1.weight"].shape[0]).to(memory_format=torch.channels_last)
    net.load_state_dict({key: given[name_of(key)] for key in net.state_dict() if "num_batches" not in key}, strict=False)
    for mode in ["Train", "Frozen"]:
        net.train(mode == "Train")
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.0
        (exact_logits, exact), (logits, found) = (gradients(net, image, labels, bf16) for bf16 in [False, True])
        each = sorted((relative(found[name], exact[name]), name) for name in exact)
        a, b = (torch.cat([g[name].flatten() for name in sorted(exact)]).double() for g in [found, exact])
        print(
            f"{mode}: logits {relative(logits, exact_logits):.2e} gradients {relative(a, b):.2e} median {each[len(each) // 2][0]:.2e}"
            f" worst {each[-1][0]:.2e} ({each[-1][1]}) cosine {float(a @ b / a.norm() / b.norm()):.5f} norm {float(a.norm() / b.norm()):.4f}"
        )


if __name__ == "__main__":
    main()
