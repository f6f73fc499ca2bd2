//! Files of each native library: pinned wheel, path in the wheel, SHA-256.

use crate::wheel::{self, Wheel};

use super::Library;

/// A file in a wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Wheel that contains the file.
    pub wheel: &'static Wheel,
    /// Path in the wheel.
    pub path: &'static str,
    /// SHA-256 of the file.
    pub sha256: &'static str,
}

impl Member {
    /// Returns the file's name without folders.
    pub fn file(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

impl Library {
    /// Lists the files of a library: the library itself, then the libraries that it needs in the same folder.
    pub fn members(self) -> &'static [Member] {
        match self {
            Library::OnnxRuntime => &ONNX_RUNTIME,
            Library::OpenSlide => &OPENSLIDE,
            Library::OpenVino => &OPENVINO,
            Library::Cuda => &CUDA,
        }
    }
}

const ONNX_RUNTIME: [Member; 1] = [Member {
    wheel: &wheel::ONNXRUNTIME,
    path: "onnxruntime/capi/libonnxruntime.so.1.31.1",
    sha256: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
}];

const OPENSLIDE: [Member; 1] = [Member {
    wheel: &wheel::OPENSLIDE,
    path: "openslide_bin/libopenslide.so.1",
    sha256: "552b5b77901bc9c7e7cc6e02a0b4f2861ffa85572b036a063db4f19ed2f357df",
}];

const OPENVINO: [Member; 5] = [
    Member {
        wheel: &wheel::OPENVINO,
        path: "onnxruntime_ep_openvino/libonnxruntime_providers_openvino_plugin.so",
        sha256: "99644306dea90173d2fac5e2ad8d10c9574ecf6e6e71ca30e426531abd5a717f",
    },
    Member {
        wheel: &wheel::OPENVINO,
        path: "onnxruntime_ep_openvino/libopenvino.so.2641",
        sha256: "9b9a80ac1f18e07b13ed54459d9a865bcfe9dc170dbf8fe740c2974b85ecedc1",
    },
    Member {
        wheel: &wheel::OPENVINO,
        path: "onnxruntime_ep_openvino/libopenvino_onnx_frontend.so.2641",
        sha256: "82d499f5b5e8514def7aaa1ecd5a9f570542d33ae9d00a0077f707cccd0e0192",
    },
    Member {
        wheel: &wheel::OPENVINO,
        path: "onnxruntime_ep_openvino/libopenvino_intel_cpu_plugin.so",
        sha256: "6599e3dd300d047b5ed72f8e48101c5f312c25321f35f57f803641ff8372900b",
    },
    Member {
        wheel: &wheel::OPENVINO,
        path: "onnxruntime_ep_openvino/libtbb.so.12",
        sha256: "ac9518497a4f2cb6729792730f145ee58367316031511923fef263c9ac81ca61",
    },
];

/// The provider comes first; each other library comes after those that it needs, because they are loaded in this order.
const CUDA: [Member; 18] = [
    Member {
        wheel: &wheel::ONNXRUNTIME_GPU,
        path: "onnxruntime/capi/libonnxruntime_providers_cuda.so",
        sha256: "d5290158115fa5569a3fe8f1f4037ee9b0e86658a96e52f852bbb7039aa88137",
    },
    Member {
        wheel: &wheel::ONNXRUNTIME_GPU,
        path: "onnxruntime/capi/libonnxruntime.so.1.31.1",
        sha256: "5104254339ecadae808da771bd0b63b240f0dbd466514234905e54372435c303",
    },
    Member {
        wheel: &wheel::ONNXRUNTIME_GPU,
        path: "onnxruntime/capi/libonnxruntime_providers_shared.so",
        sha256: "086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d",
    },
    Member {
        wheel: &wheel::ONNXRUNTIME_GPU,
        path: "onnxruntime/capi/libonnxruntime_providers_tensorrt.so",
        sha256: "1882ee49fdb0e6fc2d272b00cfaf9a3310bf8580a34385c0eec4d82014ea172e",
    },
    Member {
        wheel: &wheel::CUDA_RUNTIME,
        path: "nvidia/cu13/lib/libcudart.so.13",
        sha256: "96c42e418cec19054186b9429c321603cc190bf26a18104e19408117a2a817b0",
    },
    Member {
        wheel: &wheel::CUBLAS,
        path: "nvidia/cu13/lib/libcublasLt.so.13",
        sha256: "656298c804f5adbb0df930545c17911b9584ab4e5101c0eeb65d1fe881d880f8",
    },
    Member {
        wheel: &wheel::CUBLAS,
        path: "nvidia/cu13/lib/libcublas.so.13",
        sha256: "e70f38efabe986acd5eb683497c62f0f1730a6176ee291d9d24c6e339d1fbf86",
    },
    Member {
        wheel: &wheel::CUDA_NVRTC,
        path: "nvidia/cu13/lib/libnvrtc-builtins.so.13.0",
        sha256: "91dcd944d01da9c0f08fff5d779db136a47f6d62bdb63bae900d2f481e92c3a2",
    },
    Member {
        wheel: &wheel::CUDA_NVRTC,
        path: "nvidia/cu13/lib/libnvrtc.so.13",
        sha256: "a49e67e8e74590f1e98de55c39c6287efd3f59e3c3797464d7bbe0fe01349b11",
    },
    Member {
        wheel: &wheel::CURAND,
        path: "nvidia/cu13/lib/libcurand.so.10",
        sha256: "b53732a66b302b11926e00f762e2c2ba67058347ff93cf4ae709de45e93e06da",
    },
    Member {
        wheel: &wheel::CUDNN,
        path: "nvidia/cudnn/lib/libcudnn.so.9",
        sha256: "94f44e2e8fb2d4bca8c534b14f03ef84e095376dad72a257fd854377ef0b3427",
    },
    Member {
        wheel: &wheel::CUDNN,
        path: "nvidia/cudnn/lib/libcudnn_graph.so.9",
        sha256: "e292c689093f22325bffb7f84e68c58067c062a5cdd5534914ac1449f0a4e23f",
    },
    Member {
        wheel: &wheel::CUDNN,
        path: "nvidia/cudnn/lib/libcudnn_ops.so.9",
        sha256: "3e9182b90e8ba33027c1dcf42741ba2a8799eef3e8047cf341e00a6091ddec97",
    },
    Member {
        wheel: &wheel::CUDNN,
        path: "nvidia/cudnn/lib/libcudnn_heuristic.so.9",
        sha256: "9e0202a6bcc055fc921972f335be9eeec95e469582e0f603f6548df5209ab7dc",
    },
    Member {
        wheel: &wheel::CUDNN,
        path: "nvidia/cudnn/lib/libcudnn_adv.so.9",
        sha256: "87e2199f5bca489a1ed863afbb0b421c822fe0081a956d8c69216b3ae37c135f",
    },
    Member {
        wheel: &wheel::CUDNN,
        path: "nvidia/cudnn/lib/libcudnn_cnn.so.9",
        sha256: "36480b885ab03685d9b07c9fca4bbaeb3e7c3c7c4d81297cf8195b72cd3d8f20",
    },
    Member {
        wheel: &wheel::CUDNN,
        path: "nvidia/cudnn/lib/libcudnn_engines_precompiled.so.9",
        sha256: "7f8ce268b43c0fab298cc43854a006195bc16c0ed43bedf63b11f3699e92c6ae",
    },
    Member {
        wheel: &wheel::CUDNN,
        path: "nvidia/cudnn/lib/libcudnn_engines_runtime_compiled.so.9",
        sha256: "1b0025cfeab270688d4563e287a5009389464ff140d0ebcf708314223523b99b",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_of_a_library_are_unique() {
        for library in Library::ALL {
            let mut names: Vec<&str> = library.members().iter().map(Member::file).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{}", library.name());
            assert!(library.members().iter().all(|member| member.sha256.len() == 64));
        }
    }
}
