//! Listing of a data folder: image, scribble and label files by image id.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use support::{Context, Result, bail};

use super::image_file::EXTENSIONS;
use super::index::{self, Index};

/// Extensions of vector scribble files, as opposed to index maps.
const VECTOR_EXTENSIONS: [&str; 3] = ["geojson", "roi", "zip"];

/// Files of a data folder, by image id (the file name without its extension).
#[derive(Clone, Debug)]
pub struct Folder {
    /// Path of the data folder.
    pub path: PathBuf,
    /// Files in `images/`.
    pub images: BTreeMap<String, PathBuf>,
    /// Files in `scribbles/`; empty if the folder does not exist.
    pub scribbles: BTreeMap<String, PathBuf>,
    /// Files in `labels/`; empty if the folder does not exist.
    pub labels: BTreeMap<String, PathBuf>,
    /// Rows of `index.csv`; `None` if the file does not exist.
    pub index: Option<Index>,
}

impl Folder {
    /// Lists a data folder without reading its images.
    ///
    /// # Errors
    /// A missing folder, no images, scribbles in an unsupported format, two files with the same id, or an `index.csv` whose rows and images
    /// differ.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            let found = if path.exists() { "a file" } else { "nothing" };
            bail!("{}: expected a data folder, found {found}", path.display(); hint: "a data folder has images/ID.png and scribbles/ID.png; labels/ID.png and index.csv are optional");
        }
        let list = |name: &str, extensions: &[&str]| files(&path.join(name), extensions);
        let images = list("images", &EXTENSIONS)?;
        if images.is_empty() {
            bail!("{}: no images found", path.join("images").display(); hint: "put PNG, TIFF or JPEG files there; the file name without its extension is the image's id");
        }
        let scribbles: Vec<&str> = EXTENSIONS.into_iter().chain(VECTOR_EXTENSIONS).collect();
        check_formats(&path.join("scribbles"), &scribbles, &images)?;
        let folder = Self {
            images,
            scribbles: list("scribbles", &scribbles)?,
            labels: list("labels", &EXTENSIONS)?,
            index: index::read(&path.join("index.csv"))?,
            path: path.to_owned(),
        };
        folder.check_index()?;
        Ok(folder)
    }

    /// Returns the folders `images/`, `scribbles/` and `labels/` of a data folder, which need not exist.
    pub fn parts(data: &Path) -> [PathBuf; 3] {
        ["images", "scribbles", "labels"].map(|name| data.join(name))
    }

    /// Returns the modality of an image in `index.csv`.
    pub fn modality(&self, id: &str) -> Option<&str> {
        self.index.as_ref()?.get(id)?.modality.as_deref()
    }

    /// Checks that `index.csv` and `images/` contain the same ids.
    fn check_index(&self) -> Result<()> {
        let Some(index) = &self.index else { return Ok(()) };
        let check_empty = |ids: Vec<&String>, problem: &str, hint: &str| match ids.first() {
            None => Ok(()),
            Some(_) => bail!("{}: {problem}: {}", self.path.join("index.csv").display(), abbreviated_list(&ids); hint: "{hint}"),
        };
        check_empty(
            index.keys().filter(|id| !self.images.contains_key(*id)).collect(),
            "rows without an image",
            "remove the rows or add the images",
        )?;
        check_empty(
            self.images.keys().filter(|id| !index.contains_key(*id)).collect(),
            "images without a row",
            "add a row for each image, or remove index.csv",
        )
    }
}

/// Returns the first 8 ids of a list and their number.
pub(crate) fn abbreviated_list<S: AsRef<str>>(ids: &[S]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<&str> = ids.iter().take(SHOWN).map(AsRef::as_ref).collect();
    let more = if ids.len() > SHOWN { format!(" and {} more", ids.len() - SHOWN) } else { String::new() };
    format!("{}{more} ({} in all)", shown.join(", "), ids.len())
}

/// Checks that no scribble file of an image is in an unsupported format, because such a file would be ignored silently.
fn check_formats(folder: &Path, known: &[&str], images: &BTreeMap<String, PathBuf>) -> Result<()> {
    let doing = || format!("listing {}", folder.display());
    for entry in folder.is_dir().then(|| std::fs::read_dir(folder)).transpose().doing(doing)?.into_iter().flatten() {
        let path = entry.doing(doing)?.path();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let is_scribble = path.file_stem().and_then(|s| s.to_str()).is_some_and(|id| images.contains_key(id));
        if is_scribble && !known.iter().any(|k| k.eq_ignore_ascii_case(extension)) {
            bail!("{}: this scribble format is not supported", path.display(); hint: "supported are index maps ({}), QuPath GeoJSON (.geojson) and ImageJ selections (.roi, .zip); from napari, ilastik and Labkit export the labels as TIFF or PNG", EXTENSIONS.join(", "));
        }
    }
    Ok(())
}

/// Lists the files of a folder with one of the extensions, by id; hidden files are ignored.
fn files(folder: &Path, extensions: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::<String, PathBuf>::new();
    if !folder.exists() {
        return Ok(files);
    }
    let doing = || format!("listing {}", folder.display());
    for entry in std::fs::read_dir(folder).doing(doing)? {
        let path = entry.doing(doing)?.path();
        let known = path.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.iter().any(|x| x.eq_ignore_ascii_case(e)));
        let Some(id) = path.file_stem().and_then(|s| s.to_str()) else { continue };
        if !known || id.starts_with('.') {
            continue;
        }
        if let Some(other) = files.insert(id.to_owned(), path.clone()) {
            let (first, second) = if other < path { (&other, &path) } else { (&path, &other) };
            bail!("the id {id} has two files: {} and {}", first.display(), second.display(); hint: "keep one of them");
        }
    }
    Ok(files)
}
