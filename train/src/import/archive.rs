//! A PyTorch file (`torch.save`): a zip archive of one pickle and the storages that it names, or [`legacy`] from before version 1.6.

use std::borrow::Cow;
use std::io::{Cursor, Read};

use half::{bf16, f16};
use models::weights::{Array, Weights};
use support::{Context, Error, Result, bail};
use zip::{CompressionMethod, ZipArchive};

use super::legacy;
use super::pickle::{self, Id, Value, Values};

/// Where programs keep the state dict in a file that holds more.
const USUAL_KEYS: [&str; 4] = ["state_dict", "model_state_dict", "model", "net"];
/// What wrappers put before every name.
const WRAPPERS: [&str; 4] = ["module.", "model.", "net.", "_orig_mod."];
/// More arrays than any network of this field has.
const MAX_ARRAYS: usize = 4096;

/// Reads the floating point arrays of a state dict; integers (`num_batches_tracked`) are left out.
///
/// `key` says where in the file the state dict is; without one the whole file and the usual places are tried.
///
/// # Errors
/// A file of another kind, an object in place of a state dict, an array that its storage does not hold.
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
        bail!("the state dict holds no floating point array");
    }
    Ok(without_wrapper(weights))
}

/// A tensor, as the pickle describes it.
struct Described {
    storage: Id,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// Names and tensors of the dictionary that is asked for, or of the first that has any.
fn state_dict(values: &Values, key: Option<&str>) -> Result<Vec<(String, Described)>> {
    let Value::Dict(entries) = values.get(values.root) else {
        let class = values.call(values.root).map_or("something else", |(class, _)| class).to_owned();
        return Err(Error::new(format!("expected a state dict, found {class}"))
            .hint("a whole model needs its Python code: save `model.state_dict()` with torch.save, and give that file"));
    };
    let below = |key: &str| entries.iter().find(|(name, _)| values.text(*name) == Some(key)).map(|&(_, id)| id);
    if let Some(key) = key {
        let Some(id) = below(key) else { bail!("no entry {key:?}; the file has {}", names(values, entries)) };
        return tensors_of(values, id);
    }
    let places = std::iter::once(values.root).chain(USUAL_KEYS.iter().filter_map(|key| below(key)));
    for id in places {
        let tensors = tensors_of(values, id)?;
        if !tensors.is_empty() {
            return Ok(tensors);
        }
    }
    let found = names(values, entries);
    Err(Error::new(format!("no state dict; the file has {found}")).hint("--key NAME says which entry it is"))
}

/// The first keys of a dictionary, for a message.
fn names(values: &Values, entries: &[(Id, Id)]) -> String {
    let names: Vec<String> = entries.iter().filter_map(|&(name, _)| values.text(name)).take(8).map(|name| format!("{name:?}")).collect();
    if names.is_empty() { "no named entries".into() } else { names.join(", ") }
}

fn tensors_of(values: &Values, id: Id) -> Result<Vec<(String, Described)>> {
    let Value::Dict(entries) = values.get(id) else { return Ok(Vec::new()) };
    let mut tensors = Vec::new();
    for &(name, value) in entries {
        if let (Some(name), Some(tensor)) = (values.text(name), described(values, value).doing(|| "reading the state dict")?) {
            if tensors.iter().any(|(known, _)| known == name) {
                bail!("{name} stands twice in the state dict");
            }
            tensors.push((name.to_owned(), tensor));
        }
    }
    Ok(tensors)
}

/// `_rebuild_tensor_v2(storage, offset, size, stride, ...)`, also inside a `Parameter`; `None` for anything else.
fn described(values: &Values, id: Id) -> Result<Option<Described>> {
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
    Ok(Some(Described { storage, offset, shape, strides }))
}

/// A number of its bytes.
type Decode = fn(&[u8]) -> f32;

/// How a storage holds its numbers: bytes of one, and how they are read.
pub(super) fn decoder(class: &str) -> Option<(usize, Decode)> {
    Some(match class {
        "torch.FloatStorage" => (4, |b| f32::from_le_bytes(b.try_into().expect("4 bytes"))),
        "torch.DoubleStorage" => (8, |b| f64::from_le_bytes(b.try_into().expect("8 bytes")) as f32),
        "torch.HalfStorage" => (2, |b| f16::from_le_bytes(b.try_into().expect("2 bytes")).to_f32()),
        "torch.BFloat16Storage" => (2, |b| bf16::from_le_bytes(b.try_into().expect("2 bytes")).to_f32()),
        _ => return None,
    })
}

/// Bytes of a storage by its name.
type Storages<'a> = Box<dyn FnMut(&str) -> Result<Cow<'a, [u8]>> + 'a>;

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

struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// The folder that all entries are in.
    folder: String,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| {
            Error::new(format!("not a PyTorch file: {error}"))
                .hint("load it with PyTorch and save `model.state_dict()` again with torch.save")
        })?;
        let folder = |name: Cow<str>| Some(name.strip_suffix("data.pkl")?.to_owned());
        let Some(folder) = zip.file_names().find_map(|name| folder(name.ok()?)) else {
            bail!("a zip archive without data.pkl"; hint: "a file that torch.save wrote is expected");
        };
        let mut archive = Self { zip, folder };
        match archive.entry("byteorder").as_deref() {
            Ok(b"little") | Err(_) => Ok(archive),
            Ok(other) => bail!("its numbers are in the byte order {:?}, expected little", String::from_utf8_lossy(other)),
        }
    }

    /// The bytes of an entry, which must not be compressed (PyTorch does not): the file bounds what it asks for.
    fn entry(&mut self, name: &str) -> Result<Vec<u8>> {
        let path = format!("{}{name}", self.folder);
        let mut entry = self.zip.by_name(&path).doing(|| format!("looking for {path} in the archive"))?;
        if entry.compression() != CompressionMethod::Stored {
            bail!("{path} is compressed, which torch.save never does");
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).doing(|| format!("reading {path} in the archive"))?;
        Ok(bytes)
    }
}

/// The tensor's numbers in row-major order; `None` for integers.
fn array(storages: &mut Storages<'_>, values: &Values, tensor: &Described) -> Result<Option<Array>> {
    let &Value::Outside(id) = values.get(tensor.storage) else { bail!("its storage is not outside the pickle") };
    let Some(&[_, class, key, ..]) = values.sequence(id) else { bail!("its storage is described in an unknown way") };
    let (Some(class), Some(key)) = (values.global(class), values.text(key)) else { bail!("its storage has no type or name") };
    let Some((width, decode)) = decoder(class) else { return Ok(None) };
    let bytes = storages(key)?;
    let count = tensor.shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
    let last = tensor
        .shape
        .iter()
        .zip(&tensor.strides)
        .try_fold(tensor.offset, |at, (&extent, &stride)| at.checked_add(extent.saturating_sub(1).checked_mul(stride)?));
    let held = bytes.len() / width;
    let (Some(count), Some(last)) = (count, last) else { bail!("its shape {:?} is too large", tensor.shape) };
    if count > held || (count > 0 && last >= held) {
        bail!("shape {:?} with strides {:?} at {} does not fit its storage of {held} numbers", tensor.shape, tensor.strides, tensor.offset);
    }
    let at = |index: usize| decode(&bytes[index * width..(index + 1) * width]);
    let data = (0..count).map(|i| at(place(i, tensor))).collect();
    Ok(Some(Array::new(tensor.shape.clone(), data)))
}

/// Where in its storage the `i`-th number of a tensor lies.
fn place(i: usize, tensor: &Described) -> usize {
    let mut rest = i;
    let axes = tensor.shape.iter().zip(&tensor.strides).rev();
    axes.fold(tensor.offset, |at, (&extent, &stride)| {
        let index = rest % extent;
        rest /= extent;
        at + index * stride
    })
}

/// `module.encoder.conv1.weight` is `encoder.conv1.weight`, if every name begins in that way.
fn without_wrapper(weights: Weights) -> Weights {
    match WRAPPERS.iter().find(|prefix| weights.keys().all(|name| name.starts_with(**prefix))) {
        Some(prefix) => without_wrapper(weights.into_iter().map(|(name, array)| (name[prefix.len()..].to_owned(), array)).collect()),
        None => weights,
    }
}
