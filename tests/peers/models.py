"""What `export` writes, in the hands of others: a U-Net of segmentation_models.pytorch goes through `train import` and `export onnx` in every
form; onnx.checker, ONNX Runtime, OpenVINO and tract read each file, and their probabilities are compared with PyTorch's own.

usage: models.py FOLDER_OF_THE_PROGRAMS        (packages: README.md)
exit code 1 if a checker refuses a file or an f32 probability is further than 1e-4 from PyTorch's.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import segmentation_models_pytorch as smp
import torch
import tract
from PIL import Image

FORMS = [(target, precision) for target in ("cpu", "openvino", "cuda", "tensorrt") for precision in ("f32", "f16")] + [("cpu", "int8")]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE = 96
TOLERANCE = {"f32": 1e-4, "f16": 2e-2, "int8": 1.0}


def network(encoder: str, classes: int) -> torch.nn.Module:
    """Random weights, statistics of batch normalisation that are not 0 and 1, probabilities on both sides of a half."""
    torch.manual_seed(classes)
    model = smp.Unet(encoder, encoder_weights=None, classes=classes).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.2)
            module.bias.data.normal_(0, 0.2)
    with torch.no_grad():
        logits = model(normalised(picture(0)))
        model.segmentation_head[0].bias -= logits.mean(dim=(0, 2, 3))
    return model


def picture(seed: int) -> np.ndarray:
    """Discs on a bright ground with noise, u8, 1 H W 3."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    image = np.full((SIDE, SIDE, 3), (225, 190, 215), float)
    for cy, cx in random.integers(0, SIDE, (12, 2)):
        image[(y - cy) ** 2 + (x - cx) ** 2 < random.integers(20, 120)] = (90, 50, 120)
    return (image + random.normal(0, 8, image.shape)).clip(0, 255).astype(np.uint8)[None]


def normalised(image: np.ndarray) -> torch.Tensor:
    unit = torch.from_numpy(image).permute(0, 3, 1, 2).float() / 255
    return (unit - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


def torch_probability(model: torch.nn.Module, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        logits = model(normalised(image))
    return (logits.softmax(1)[:, 1] if logits.shape[1] == 2 else logits.sigmoid()[:, 0]).numpy()


def by_onnxruntime(path: Path, image: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(["probability"], {"image": image})[0]


def by_openvino(path: Path, image: np.ndarray) -> np.ndarray:
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled({"image": image})["probability"]


def by_tract(path: Path, image: np.ndarray) -> np.ndarray | None:
    """f16 is loaded and typed but not run: tract needs minutes for it on a processor."""
    model = tract.onnx().load(str(path))
    model.set_input_fact(0, f"{image.shape[0]},{SIDE},{SIDE},3,u8")
    if any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in onnx.load(path).graph.initializer):
        model.into_model()
        return None
    outputs = model.into_model().into_runnable().run([image])
    return next(out for out in (tensor.to_numpy() for tensor in outputs) if out.dtype == np.float32)


READERS = {"ONNX Runtime": by_onnxruntime, "OpenVINO": by_openvino, "tract": by_tract}


def run(*command: object) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def checked(path: Path) -> str:
    onnx.checker.check_model(str(path), full_check=True)
    inferred = onnx.shape_inference.infer_shapes(onnx.load(path), check_type=True, strict_mode=True, data_prop=True)
    known = {value.name for value in inferred.graph.value_info} | {value.name for value in inferred.graph.output}
    missing = [name for node in inferred.graph.node for name in node.output if name not in known]
    return "passes" if not missing else f"no shape for {missing[:3]}"


def main() -> int:
    programs = Path(sys.argv[1])
    image, faults = picture(1), 0
    print("| encoder | logits | target | precision | onnx.checker, shapes |", *(f" {name} |" for name in READERS), sep="")
    print("|---" * (5 + len(READERS)), "|", sep="")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        Image.fromarray(picture(2)[0]).save(folder / "tile.png")
        for encoder, classes in (("resnet34", 2), ("resnet34", 1), ("mobilenet_v2", 2), ("mobilenet_v2", 1)):
            model = network(encoder, classes)
            expected = torch_probability(model, image)
            torch.save(model.state_dict(), folder / "model.pth")
            run(programs / "train", "import", folder / "model.pth", "-o", folder / "model.safetensors")
            for target, precision in FORMS:
                path = folder / "model.onnx"
                form = ["--target", target, "--precision", precision, "--microns-per-pixel", 0.5]
                if precision == "int8":
                    form += ["--tiles", folder / "tile.png", "--max-flipped", 1]
                run(programs / "export", "onnx", folder / "model.safetensors", "-o", path, *form)
                cells = [checked(path)]
                faults += cells[0] != "passes"
                for reader in READERS.values():
                    try:
                        probability = reader(path, image)
                        difference = 0.0 if probability is None else float(np.abs(probability - expected).max())
                        faults += difference > TOLERANCE[precision]
                        cells.append("loads" if probability is None else f"{difference:.1e}")
                    except Exception as error:  # what a reader cannot do is part of the answer
                        cells.append(f"refused: {str(error).strip().splitlines()[0][:80]}")
                print(f"| {encoder} | {classes} | {target} | {precision} |", *(f" {cell} |" for cell in cells), sep="", flush=True)
            spread = np.percentile(expected, [1, 50, 99])
            print(f"PyTorch's probabilities, 1st, 50th and 99th of a hundred: {spread.round(3)}", file=sys.stderr)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
