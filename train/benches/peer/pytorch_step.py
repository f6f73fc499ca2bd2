"""Duration of PyTorch's training step of the same network: U-Net with a ResNet-34 encoder, two classes.

    python pytorch_step.py --batch 4 --precision f32 --steps 8 [--device cuda] [--compile]

prints one line `step S forward S backward S optimiser S peak_mib M`: minima over the steps, and the peak resident memory
(on a GPU the peak memory of its tensors).
"""
import argparse
import resource
import time

import torch
from torch import nn


class Block(nn.Module):
    """Residual block of ResNet-34."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        short = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + short)


def triple(inputs, outputs):
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class UNet(nn.Module):
    """The network of `models::unet::unet`, 24.4 million parameters."""

    def __init__(self, decoder=(256, 128, 64, 32, 16), classes=2, width=64):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(3, 2, 1)
        stages, inputs = [], width
        for stage, depth in enumerate((3, 4, 6, 3)):
            outputs = width << stage
            blocks = [Block(inputs, outputs, 2 if stage else 1)] + [Block(outputs, outputs, 1) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        skips = [4 * width, 2 * width, width, width, 0]
        self.decoder = nn.ModuleList()
        for outputs, skip in zip(decoder, skips):
            self.decoder.append(nn.Sequential(triple(inputs + skip, outputs), triple(outputs, outputs)))
            inputs = outputs
        self.head = nn.Conv2d(inputs, classes, 1, bias=False)

    def forward(self, x):
        skips = [self.stem(x)]
        x = self.pool(skips[0])
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for block in self.decoder:
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            if skips:
                x = torch.cat([x, skips.pop()], 1)
            x = block(x)
        return self.head(x)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compile", action="store_true", help="compile the network with torch.compile")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    wait = torch.cuda.synchronize if args.device == "cuda" else lambda: None
    net = UNet().to(args.device, memory_format=torch.channels_last).train()
    parameters = list(net.parameters())
    if args.compile:
        net = torch.compile(net)
    image = torch.randn(args.batch, 3, args.side, args.side).to(args.device, memory_format=torch.channels_last)
    labels = torch.randint(0, 2, (args.batch, args.side, args.side))
    labels[torch.rand(labels.shape) < 0.5] = 250
    labels = labels.to(args.device)
    loss_of = nn.CrossEntropyLoss(ignore_index=250)
    optimiser = torch.optim.RAdam(parameters, lr=1e-3, weight_decay=1e-4, decoupled_weight_decay=True, foreach=args.device == "cuda" or None)
    best = [float("inf")] * 4
    for step in range(args.steps + 1):
        t = [time.perf_counter()]
        with torch.autocast(args.device, dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            logits = net(image)
        loss = loss_of(logits.float(), labels)
        wait()
        t.append(time.perf_counter())
        optimiser.zero_grad()
        loss.backward()
        wait()
        t.append(time.perf_counter())
        optimiser.step()
        wait()
        t.append(time.perf_counter())
        if step:
            parts = [t[3] - t[0], t[1] - t[0], t[2] - t[1], t[3] - t[2]]
            best = [min(old, new) for old, new in zip(best, parts)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if args.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    names = ["step", "forward", "backward", "optimiser"]
    print(" ".join(f"{name} {seconds:.4f}" for name, seconds in zip(names, best)), f"peak_mib {peak:.0f}")


if __name__ == "__main__":
    main()
