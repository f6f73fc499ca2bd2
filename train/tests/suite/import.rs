//! `train import` through the real program: files written by PyTorch, and hostile files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use models::weights::{Array, WeightsFile};
use support::durable;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/pth").join(name)
}

fn import(file: &Path, output: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_train")).arg("import").arg(file).arg("-o").arg(output).args(more).output().unwrap()
}

/// Returns the error text for a file that the program must refuse, after a check that no output was written.
fn refusal(file: &Path) -> String {
    let output = file.with_extension("safetensors");
    let result = import(file, &output, &[]);
    assert_eq!(result.status.code(), Some(1), "{result:?}");
    assert!(!output.exists());
    String::from_utf8(result.stderr).unwrap()
}

/// Returns an array of the values 0, 1/8, 2/8, ...
fn ramp(shape: &[usize]) -> Array {
    let count: usize = shape.iter().product();
    Array::new(shape, (0..count).map(|i| i as f32 / 8.0).collect())
}

#[test]
fn state_dicts_of_every_file_format_are_read_exactly() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["plain.pth", "wrapped.pth", "legacy.pth"] {
        let output = folder.path().join("out.safetensors");
        let result = import(&fixture(name), &output, &[]);
        assert!(result.status.success(), "{result:?}");
        let file = WeightsFile::read(&output).unwrap();
        assert!(file.verified);
        assert_eq!(file.metadata["imported_sha256"], durable::sha256_of_file(&fixture(name)).unwrap());
        let names: Vec<&str> = file.arrays.keys().map(String::as_str).collect();
        assert_eq!(names, ["brain", "double", "half", "number", "parameter", "part", "plain", "turned"]);
        for (name, shape) in [("plain", [2, 3, 2, 2].as_slice()), ("half", &[5]), ("brain", &[5]), ("double", &[3]), ("parameter", &[2])] {
            assert_eq!(file.arrays[name], ramp(shape), "{name}");
        }
        assert_eq!(file.arrays["number"], Array::new([], vec![0.125]));
        let turned = (0..12).map(|i| ((i % 3) * 4 + i / 3) as f32 / 8.0).collect();
        assert_eq!(file.arrays["turned"], Array::new([4, 3], turned));
        assert_eq!(file.arrays["part"], Array::new([2, 3], [8, 9, 10, 14, 15, 16].map(|i| i as f32 / 8.0).to_vec()));
    }
}

#[test]
fn files_that_are_no_state_dict_are_refused_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("model.pth");
    std::fs::copy(fixture("whole_model.pth"), &copy).unwrap();
    let said = refusal(&copy);
    assert!(said.contains("torch.nn.modules.linear.Linear") && said.contains("hint: ") && said.contains("model.state_dict()"), "{said}");
    std::fs::write(&copy, b"\x80\x02}q\x00.").unwrap();
    assert!(refusal(&copy).contains("not a PyTorch file"));
    let error = WeightsFile::read(&fixture("plain.pth")).unwrap_err();
    assert!(error.to_string().contains("plain.pth") && error.hint_text().unwrap().contains("train import"), "{error}");
    let missing = import(&folder.path().join("none.pth"), &folder.path().join("o.safetensors"), &[]);
    assert!(String::from_utf8(missing.stderr).unwrap().contains("none.pth"));
    let wrong = import(&fixture("wrapped.pth"), &folder.path().join("o.safetensors"), &["--key", "weights"]);
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("no entry \"weights\"; the file has \"epoch\", \"optimizer\", \"state_dict\""), "{said}");
}

/// Writes an archive in the layout of `torch.save` with the given pickle and one storage.
fn archive(path: &Path, pickle: &[u8], storage: &[u8], method: CompressionMethod) {
    let mut zip = ZipWriter::new(std::fs::File::create(path).unwrap());
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in [("m/data.pkl", pickle), ("m/byteorder", b"little"), ("m/data/0", storage)] {
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

/// Pickles a state dict of one tensor with the given length, offset and stride over storage 0.
fn pickle_of(length: u32, offset: u32, stride: u32) -> Vec<u8> {
    let int = |n: u32| [b"J".as_slice(), &n.to_le_bytes()].concat();
    let text = |s: &str| [b"X".as_slice(), &(s.len() as u32).to_le_bytes(), s.as_bytes()].concat();
    let storage = [b"(".as_slice(), &text("storage"), b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), &int(4), b"tQ"].concat();
    let arguments = [b"(".as_slice(), &storage, &int(offset), &int(length), b"\x85", &int(stride), b"\x85\x89}t"].concat();
    [b"\x80\x02}(".as_slice(), &text("w"), b"ctorch._utils\n_rebuild_tensor_v2\n", &arguments, b"Ru."].concat()
}

#[test]
fn a_hostile_file_ends_the_child_process_and_not_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pth");
    let stored = CompressionMethod::Stored;
    let numbers: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    archive(&path, &pickle_of(2, 1, 2), &numbers, stored);
    let output = folder.path().join("good.safetensors");
    assert!(import(&path, &output, &[]).status.success());
    assert_eq!(WeightsFile::read(&output).unwrap().arrays["w"].data, [2.0, 4.0]);

    for (length, offset, stride) in [(5, 0, 1), (4, 1, 1), (2, 0, 4), (4, 0, 0x7fff_ffff), (0x7fff_ffff, 0, 0), (1, 4, 1)] {
        archive(&path, &pickle_of(length, offset, stride), &numbers, stored);
        let said = refusal(&path);
        assert!(said.contains("reading w") && said.contains("does not fit its storage of 4 elements"), "{said}");
    }
    let cases: [(&[u8], &str); 4] = [
        (b"\x80\x02B\xff\xff\xff\xffabc.", "expected 4294967295 bytes"),
        (b"\x80\x02cposix\nsystem\nX\x0c\x00\x00\x00touch hackedq\x00\x85R.", "found posix.system"),
        (b"\x80\x02(lp0\n0.", "unsupported opcode"),
        (b"\x80\x02}", "the pickle ends"),
    ];
    for (pickle, expected) in cases {
        archive(&path, pickle, &numbers, stored);
        let said = refusal(&path);
        assert!(said.contains(expected), "{said}");
    }
    let mut deep = vec![b']'; 2_000_000];
    deep.extend(vec![b'a'; 1_999_999]);
    archive(&path, &[deep, vec![b'.']].concat(), &numbers, stored);
    assert!(refusal(&path).contains("expected a state dict"));
    archive(&path, &vec![b'N'; 300_000_000], &numbers, CompressionMethod::Deflated);
    assert!(refusal(&path).contains("is compressed"));
}

/// Each value takes more memory than its byte in the pickle, so the child reaches its memory limit; this process is not affected.
#[test]
fn a_child_that_exceeds_its_memory_limit_does_not_end_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pth");
    archive(&path, &vec![b'N'; 60_000_000], &[], CompressionMethod::Stored);
    let said = refusal(&path);
    assert!(
        said.contains("the process that read the file ended with signal") && said.contains("hint: the file is damaged or hostile"),
        "{said}"
    );
}

#[test]
fn truncated_and_changed_files_never_crash_the_program() {
    let whole = std::fs::read(fixture("plain.pth")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pth");
    for i in (0..whole.len()).step_by(whole.len() / 40) {
        std::fs::write(&path, &whole[..i]).unwrap();
        refusal(&path);
        let mut changed = whole.clone();
        changed[i] ^= 0x55;
        std::fs::write(&path, &changed).unwrap();
        let code = import(&path, &folder.path().join("changed.safetensors"), &[]).status.code();
        assert!(matches!(code, Some(0 | 1)), "byte {i}: {code:?}");
    }
}
