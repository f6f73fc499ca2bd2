//! CUDA kernels compiled by NVIDIA's run-time compiler (NVRTC), which needs no GPU. If libnvrtc cannot be loaded, the test says so on
//! stderr and passes.
//!
//! `LIBNVRTC=/path/to/libnvrtc.so.13` selects a library; the CUDA toolkit and the Python package nvidia-cuda-nvrtc contain it.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

use candle_core::DType;
use libloading::Library;
use train::network::kernels::cuda::source;

type Program = *mut c_void;

fn library() -> Option<Library> {
    let named = std::env::var("LIBNVRTC").ok();
    let toolkit = std::env::var("CUDA_PATH").ok().map(|path| format!("{path}/lib64/libnvrtc.so"));
    let usual = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so", "nvrtc64_130_0.dll", "nvrtc64_120_0.dll"].map(str::to_owned);
    let names: Vec<String> = match named {
        Some(name) => vec![name],
        None => toolkit.into_iter().chain(usual).collect(),
    };
    let found = names.iter().find_map(|name| load(Path::new(name)));
    if found.is_none() {
        assert!(std::env::var_os("LIBNVRTC").is_none(), "{names:?} cannot be loaded");
        eprintln!("SKIPPED: the CUDA kernels are not compiled for a GPU: none of {names:?} can be loaded");
    }
    found
}

/// Loads NVRTC. A library given by its path gets the built-ins library from its own folder, which the loader would not search.
fn load(path: &Path) -> Option<Library> {
    let beside = path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    for part in beside.into_iter().flatten().flatten() {
        if part.file_name().to_string_lossy().starts_with("libnvrtc-builtins.so") {
            // SAFETY: the initialisers of NVIDIA's libraries have no preconditions.
            std::mem::forget(unsafe { Library::new(part.path()) });
        }
    }
    // SAFETY: as above.
    unsafe { Library::new(path) }.ok()
}

/// Reads a text of the compiler (log or PTX) through its pair of functions: `size` returns the length, `get` fills the buffer.
unsafe fn text(library: &Library, program: Program, size: &str, get: &str) -> String {
    type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
    type Get = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
    // SAFETY: the functions have these parameters (NVRTC's manual), and the buffer is as long as the first one says.
    unsafe {
        let mut bytes = 0;
        assert_eq!(library.get::<Size>(size.as_bytes()).unwrap()(program, &raw mut bytes), 0);
        let mut buffer = vec![0u8; bytes + 1];
        assert_eq!(library.get::<Get>(get.as_bytes()).unwrap()(program, buffer.as_mut_ptr().cast()), 0);
        CStr::from_bytes_until_nul(&buffer).unwrap().to_string_lossy().into_owned()
    }
}

/// Compiles `source` to PTX for an architecture.
fn compiled(library: &Library, source: &str, architecture: &str) -> String {
    type Create =
        unsafe extern "C" fn(*mut Program, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char) -> c_int;
    type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
    let source = CString::new(source).unwrap();
    let options = [c"--std=c++17".to_owned(), CString::new(format!("--gpu-architecture={architecture}")).unwrap()];
    let options = [options[0].as_ptr(), options[1].as_ptr()];
    let mut program: Program = std::ptr::null_mut();
    // SAFETY: the functions have these parameters (NVRTC's manual); texts and options outlive the calls.
    unsafe {
        let create = library.get::<Create>(b"nvrtcCreateProgram").unwrap();
        assert_eq!(create(&raw mut program, source.as_ptr(), c"kernels.cu".as_ptr(), 0, std::ptr::null(), std::ptr::null()), 0);
        let status = library.get::<Compile>(b"nvrtcCompileProgram").unwrap()(program, 2, options.as_ptr());
        assert_eq!(status, 0, "{architecture}: {}", text(library, program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog"));
        text(library, program, "nvrtcGetPTXSize", "nvrtcGetPTX")
    }
}

#[test]
fn every_kernel_compiles_for_gpus_with_bf16() {
    let Some(library) = library() else { return };
    for feature_dtype in [DType::F32, DType::BF16] {
        for architecture in ["compute_80", "compute_90"] {
            let ptx = compiled(&library, &source::program(feature_dtype), architecture);
            for name in source::kernels() {
                assert!(ptx.contains(&format!(".entry {name}(")), "{name} for {feature_dtype:?}, {architecture}");
            }
            let rounds = ptx.contains("cvt.rn.bf16.f32");
            assert_eq!(rounds, feature_dtype == DType::BF16, "rounding by the GPU's own instruction, {feature_dtype:?}, {architecture}");
        }
    }
}

#[test]
fn the_list_of_kernels_is_complete() {
    let program = source::program(DType::F32);
    let written = program.matches("extern \"C\" __global__").count();
    // Two macros, for the pairs and for the contrastive term, define three kernels; each use of them expands to two and to one.
    let pairs = program.matches("\nWIDE_AND_ONE(").count();
    let contrasts = program.matches("\nCONTRAST(").count();
    assert_eq!(source::kernels().len(), written - 3 + 2 * pairs + contrasts);
}
