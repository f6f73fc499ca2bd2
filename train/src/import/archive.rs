//! PyTorch files (`torch.save`): a zip archive of a pickle and its storages, or the [`legacy`] format before PyTorch 1.6.

use std::borrow::Cow;
use std::io::{Cursor, Read};

use half::{bf16, f16};
use models::weights::{Array, Weights};
use support::{Context, Error, Result, bail};
use zip::{CompressionMethod, ZipArchive};

use super::legacy;
use super::pickle::{self, Id, Value, Values};

/// Usual keys of the state dict in files with further entries, such as optimiser states.
const USUAL_KEYS: [&str; 4] = ["state_dict", "model_state_dict", "model", "net"];
/// Prefixes that wrapper modules, such as `DataParallel`, add to every parameter name.
const WRAPPER_PREFIXES: [&str; 4] = ["module.", "model.", "net.", "_orig_mod."];
/// Limit of the number of arrays in a state dict.
const MAX_ARRAYS: usize = 4096;

/// Reads the floating-point arrays of a state dict; integer arrays (`num_batches_tracked`) are skipped.
///
/// `key` is the entry of the file that holds the state dict; without a key, the top level and the usual keys are tried.
///
/// # Errors
/// A file in another format, an object in place of a state dict, an array that exceeds its storage.
pub fn read(bytes: &[u8], key: Option<&str>) -> Result<Weights> {
    let (mut storages, values) = open(bytes)?;
    let entries = state_dict(&values, key)?;
    if entries.len() > MAX_ARRAYS {
        bail!("the state dict has {} entries, more than the {MAX_ARRAYS} that are allowed", entries.len());
    }
    let mut weights = Weights::new();
    for (name, tensor) in entries {
        if let Some(array) = array(&mut storages, &values, &tensor).doing(|| format!("reading {name}"))? {
            weights.insert(name, array);
        }
    }
    if weights.is_empty() {
        bail!("the state dict has no floating-point array");
    }
    Ok(without_wrapper(weights))
}

/// Strided view of a storage, as the pickle describes a tensor.
struct TensorView {
    /// Persistent id of the storage.
    storage: Id,
    /// Index of the first element in the storage.
    offset: usize,
    shape: Vec<usize>,
    /// Distance of neighbouring elements along each axis, in elements.
    strides: Vec<usize>,
}

/// Returns names and tensors of the entry `key`, or else of the first of the top level and [`USUAL_KEYS`] that contains tensors.
fn state_dict(values: &Values, key: Option<&str>) -> Result<Vec<(String, TensorView)>> {
    let Value::Dict(entries) = values.get(values.root) else {
        let class = values.call(values.root).map_or("another object", |(class, _)| class).to_owned();
        return Err(Error::new(format!("expected a state dict, found {class}")).hint(
            "a pickled model cannot be read without its Python code: save `model.state_dict()` with torch.save and import that file",
        ));
    };
    let entry = |key: &str| entries.iter().find(|(name, _)| values.text(*name) == Some(key)).map(|&(_, id)| id);
    if let Some(key) = key {
        let Some(id) = entry(key) else { bail!("no entry {key:?}; the file has {}", names(values, entries)) };
        return tensors_of(values, id);
    }
    let candidates = std::iter::once(values.root).chain(USUAL_KEYS.iter().filter_map(|key| entry(key)));
    for id in candidates {
        let tensors = tensors_of(values, id)?;
        if !tensors.is_empty() {
            return Ok(tensors);
        }
    }
    let found = names(values, entries);
    Err(Error::new(format!("no state dict; the file has {found}")).hint("select the entry with --key NAME"))
}

/// Returns the first 8 keys of a dictionary as text for a message.
fn names(values: &Values, entries: &[(Id, Id)]) -> String {
    let names: Vec<String> = entries.iter().filter_map(|&(name, _)| values.text(name)).take(8).map(|name| format!("{name:?}")).collect();
    if names.is_empty() { "no named entries".into() } else { names.join(", ") }
}

/// Returns the entries of a dictionary that are tensors; empty if the value is no dictionary.
fn tensors_of(values: &Values, id: Id) -> Result<Vec<(String, TensorView)>> {
    let Value::Dict(entries) = values.get(id) else { return Ok(Vec::new()) };
    let mut tensors = Vec::new();
    for &(name, value) in entries {
        if let (Some(name), Some(tensor)) = (values.text(name), tensor_view(values, value).doing(|| "reading the state dict")?) {
            if tensors.iter().any(|(known, _)| known == name) {
                bail!("{name} occurs twice in the state dict");
            }
            tensors.push((name.to_owned(), tensor));
        }
    }
    Ok(tensors)
}

/// Reads a call of `_rebuild_tensor_v2(storage, offset, size, stride, ...)`, also inside a `Parameter`; returns `None` for other values.
fn tensor_view(values: &Values, id: Id) -> Result<Option<TensorView>> {
    let tensor = match values.call(id) {
        Some(("torch._utils._rebuild_parameter", &[data, ..])) => values.call(data),
        other => other,
    };
    let Some(("torch._utils._rebuild_tensor_v2", &[storage, offset, size, stride, ..])) = tensor else { return Ok(None) };
    let extents = |id: Id| values.sequence(id)?.iter().map(|&id| values.count(id)).collect::<Option<Vec<_>>>();
    let (Some(offset), Some(shape), Some(strides)) = (values.count(offset), extents(size), extents(stride)) else {
        bail!("a tensor whose offset, shape or strides are not counts");
    };
    if shape.len() != strides.len() || shape.len() > 8 {
        bail!("a tensor of {} extents with {} strides", shape.len(), strides.len());
    }
    Ok(Some(TensorView { storage, offset, shape, strides }))
}

/// Function that decodes one element from its bytes.
type Decode = fn(&[u8]) -> f32;

/// Returns the element size in bytes and the decoder of a storage class; `None` for classes other than floating point.
pub(super) fn decoder(class: &str) -> Option<(usize, Decode)> {
    Some(match class {
        "torch.FloatStorage" => (4, |b| f32::from_le_bytes(b.try_into().expect("4 bytes"))),
        "torch.DoubleStorage" => (8, |b| f64::from_le_bytes(b.try_into().expect("8 bytes")) as f32),
        "torch.HalfStorage" => (2, |b| f16::from_le_bytes(b.try_into().expect("2 bytes")).to_f32()),
        "torch.BFloat16Storage" => (2, |b| bf16::from_le_bytes(b.try_into().expect("2 bytes")).to_f32()),
        _ => return None,
    })
}

/// Function that returns the bytes of a storage by its key.
type Storages<'a> = Box<dyn FnMut(&str) -> Result<Cow<'a, [u8]>> + 'a>;

/// Reads the pickle of a file, and returns access to its storages.
fn open(bytes: &[u8]) -> Result<(Storages<'_>, Values)> {
    if legacy::is_legacy(bytes) {
        let legacy = legacy::read(bytes)?;
        let storages = legacy.storages;
        let storage = move |key: &str| match storages.get(key) {
            Some(range) => Ok(Cow::Borrowed(&bytes[range.clone()])),
            None => bail!("the file has no storage {key}"),
        };
        return Ok((Box::new(storage), legacy.values));
    }
    let mut archive = Archive::open(bytes)?;
    let values = pickle::read(&archive.entry("data.pkl")?)?;
    Ok((Box::new(move |key| archive.entry(&format!("data/{key}")).map(Cow::Owned)), values))
}

/// Zip archive in the layout of `torch.save`.
struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// Path prefix of all entries, ending with `/`.
    folder: String,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| {
            Error::new(format!("not a PyTorch file: {error}"))
                .hint("load the file with PyTorch and save `model.state_dict()` again with torch.save")
        })?;
        let folder = |name: Cow<str>| Some(name.strip_suffix("data.pkl")?.to_owned());
        let Some(folder) = zip.file_names().find_map(|name| folder(name.ok()?)) else {
            bail!("a zip archive without data.pkl"; hint: "expected a file written by torch.save");
        };
        let mut archive = Self { zip, folder };
        match archive.entry("byteorder").as_deref() {
            Ok(b"little") | Err(_) => Ok(archive),
            Ok(other) => bail!("the storages have the byte order {:?}, expected little", String::from_utf8_lossy(other)),
        }
    }

    /// Reads an entry. Compressed entries are refused, because then the size of the file bounds the size of its contents.
    fn entry(&mut self, name: &str) -> Result<Vec<u8>> {
        let path = format!("{}{name}", self.folder);
        let mut entry = self.zip.by_name(&path).doing(|| format!("looking for {path} in the archive"))?;
        if entry.compression() != CompressionMethod::Stored {
            bail!("{path} is compressed, expected a stored entry as torch.save writes");
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).doing(|| format!("reading {path} in the archive"))?;
        Ok(bytes)
    }
}

/// Copies a tensor into row-major order; returns `None` for integers.
fn array(storages: &mut Storages<'_>, values: &Values, tensor: &TensorView) -> Result<Option<Array>> {
    let &Value::PersistentId(id) = values.get(tensor.storage) else { bail!("the storage is not given by a persistent id") };
    let Some(&[_, class, key, ..]) = values.sequence(id) else { bail!("the persistent id of the storage has an unknown form") };
    let (Some(class), Some(key)) = (values.global(class), values.text(key)) else { bail!("the storage has no class or key") };
    let Some((width, decode)) = decoder(class) else { return Ok(None) };
    let bytes = storages(key)?;
    let count = tensor.shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
    let last = tensor
        .shape
        .iter()
        .zip(&tensor.strides)
        .try_fold(tensor.offset, |at, (&extent, &stride)| at.checked_add(extent.saturating_sub(1).checked_mul(stride)?));
    let available = bytes.len() / width;
    let (Some(count), Some(last)) = (count, last) else { bail!("the shape {:?} is too large", tensor.shape) };
    if count > available || (count > 0 && last >= available) {
        bail!(
            "shape {:?} with strides {:?} at {} does not fit its storage of {available} elements",
            tensor.shape,
            tensor.strides,
            tensor.offset
        );
    }
    let at = |index: usize| decode(&bytes[index * width..(index + 1) * width]);
    let data = (0..count).map(|i| at(storage_index(i, tensor))).collect();
    Ok(Some(Array::new(tensor.shape.clone(), data)))
}

/// Returns the index in its storage of the `i`-th element of a tensor, in row-major order.
fn storage_index(i: usize, tensor: &TensorView) -> usize {
    let mut rest = i;
    let axes = tensor.shape.iter().zip(&tensor.strides).rev();
    axes.fold(tensor.offset, |at, (&extent, &stride)| {
        let index = rest % extent;
        rest /= extent;
        at + index * stride
    })
}

/// Strips a wrapper prefix that all names share: `module.encoder.conv1.weight` becomes `encoder.conv1.weight`.
fn without_wrapper(weights: Weights) -> Weights {
    match WRAPPER_PREFIXES.iter().find(|prefix| weights.keys().all(|name| name.starts_with(**prefix))) {
        Some(prefix) => without_wrapper(weights.into_iter().map(|(name, array)| (name[prefix.len()..].to_owned(), array)).collect()),
        None => weights,
    }
}
