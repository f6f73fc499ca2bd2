//! Which files a data folder has, by image id.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use support::{Context, Result, bail};

use super::image_file::EXTENSIONS;
use super::index::{self, Index};

/// Kinds of scribble files that are no index maps.
const DRAWINGS: [&str; 3] = ["geojson", "roi", "zip"];

/// The files of a data folder, by id (the file name without its extension).
#[derive(Clone, Debug)]
pub struct Folder {
    /// The folder itself.
    pub path: PathBuf,
    /// `images/`.
    pub images: BTreeMap<String, PathBuf>,
    /// `scribbles/`; empty where there is no such folder.
    pub scribbles: BTreeMap<String, PathBuf>,
    /// `labels/`; empty where there is no such folder.
    pub labels: BTreeMap<String, PathBuf>,
    /// `index.csv`, where there is one.
    pub index: Option<Index>,
}

impl Folder {
    /// Looks at a data folder without opening its images.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            let found = if path.exists() { "a file" } else { "nothing" };
            bail!("{}: expected a data folder, found {found}", path.display(); hint: "a data folder has images/ID.png and scribbles/ID.png; labels/ID.png and index.csv are optional");
        }
        let part = |name: &str, extensions: &[&str]| files(&path.join(name), extensions);
        let images = part("images", &EXTENSIONS)?;
        if images.is_empty() {
            bail!("{}: no images found", path.join("images").display(); hint: "put PNG, TIFF or JPEG files there; the file name without its extension is the image's id");
        }
        let scribbles: Vec<&str> = EXTENSIONS.into_iter().chain(DRAWINGS).collect();
        check_kinds(&path.join("scribbles"), &scribbles, &images)?;
        let folder = Self {
            images,
            scribbles: part("scribbles", &scribbles)?,
            labels: part("labels", &EXTENSIONS)?,
            index: index::read(&path.join("index.csv"))?,
            path: path.to_owned(),
        };
        folder.check_index()?;
        Ok(folder)
    }

    /// The modality that `index.csv` gives an image.
    pub fn modality(&self, id: &str) -> Option<&str> {
        self.index.as_ref()?.get(id)?.modality.as_deref()
    }

    fn check_index(&self) -> Result<()> {
        let Some(index) = &self.index else { return Ok(()) };
        let listed = |ids: Vec<&String>, what: &str, hint: &str| match ids.first() {
            None => Ok(()),
            Some(_) => bail!("{}: {what}: {}", self.path.join("index.csv").display(), some_of(&ids); hint: "{hint}"),
        };
        listed(
            index.keys().filter(|id| !self.images.contains_key(*id)).collect(),
            "rows without an image",
            "remove the rows or add the images",
        )?;
        listed(
            self.images.keys().filter(|id| !index.contains_key(*id)).collect(),
            "images without a row",
            "add a row for each image, or remove index.csv",
        )
    }
}

/// The first ids of a list, and how many there are.
pub(crate) fn some_of<S: AsRef<str>>(ids: &[S]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<&str> = ids.iter().take(SHOWN).map(AsRef::as_ref).collect();
    let more = if ids.len() > SHOWN { format!(" and {} more", ids.len() - SHOWN) } else { String::new() };
    format!("{}{more} ({} in all)", shown.join(", "), ids.len())
}

/// A file with the name of an image, but of a kind that is not read, would be missed in silence.
fn check_kinds(folder: &Path, known: &[&str], images: &BTreeMap<String, PathBuf>) -> Result<()> {
    let doing = || format!("listing {}", folder.display());
    for entry in folder.is_dir().then(|| std::fs::read_dir(folder)).transpose().doing(doing)?.into_iter().flatten() {
        let path = entry.doing(doing)?.path();
        let kind = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let is_scribble = path.file_stem().and_then(|s| s.to_str()).is_some_and(|id| images.contains_key(id));
        if is_scribble && !known.iter().any(|k| k.eq_ignore_ascii_case(kind)) {
            bail!("{}: scribbles of this kind are not read", path.display(); hint: "supported are index maps ({}), QuPath GeoJSON (.geojson) and ImageJ selections (.roi, .zip); from napari, ilastik and Labkit export the labels as TIFF or PNG", EXTENSIONS.join(", "));
        }
    }
    Ok(())
}

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
