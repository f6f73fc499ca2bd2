//! Images to measure on, and tiles cut from them at fixed sites.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;
use models::plane::reflect_101;
use support::{Context, Result, bail, picture};

/// Decoded bytes of the largest image that is read.
const MAX_BYTES: u64 = 512 << 20;
const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "tif", "tiff"];

/// Lists the image files that `paths` name. A folder stands for the images in it, or in its subfolder `images/` if there is one, sorted
/// by name.
///
/// # Errors
/// A path that does not exist, or no image at all.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let inner = path.join("images");
            files.extend(in_folder(if inner.is_dir() { &inner } else { path })?);
        } else if path.is_file() {
            files.push(path.clone());
        } else {
            bail!("{}: no such file or folder", path.display(); hint: "name images, or a folder with images or `images/` in it");
        }
    }
    if files.is_empty() && !paths.is_empty() {
        bail!("{}: no images ({}) found", paths[0].display(), EXTENSIONS.join(", "));
    }
    Ok(files)
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let doing = || format!("listing {}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).doing(doing)? {
        let path = entry.doing(doing)?.path();
        let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        if path.is_file() && extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str())) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Position in an image around which tiles with any halo are cut.
pub struct Site {
    image: Arc<RgbImage>,
    /// Left edge of the core; negative if the core is wider than the image.
    left: isize,
    /// Upper edge of the core; negative if the core is higher than the image.
    top: isize,
    /// Side of the core in pixels.
    core: usize,
}

impl Site {
    /// Side of [`Site::tile`] in pixels.
    pub fn side(&self, halo: usize) -> usize {
        self.core + 2 * halo
    }

    /// Cuts the core with `halo` pixels on each side, `H W 3`. Pixels beyond the image are reflected (reflect-101).
    pub fn tile(&self, halo: usize) -> Vec<u8> {
        let side = (self.core + 2 * halo) as isize;
        let (width, height) = (self.image.width() as usize, self.image.height() as usize);
        let columns: Vec<usize> = (0..side).map(|x| reflect_101(self.left - halo as isize + x, width)).collect();
        let rows = (0..side).map(|y| reflect_101(self.top - halo as isize + y, height));
        let pixels = self.image.as_raw();
        rows.flat_map(|y| columns.iter().flat_map(move |&x| pixels[3 * (y * width + x)..][..3].iter().copied())).collect()
    }
}

/// Image files to select sites from. Each file is decoded once, even if several selections use it.
pub struct TileImages {
    files: Vec<PathBuf>,
    /// Decoded images by position in `files`.
    decoded: BTreeMap<usize, Arc<RgbImage>>,
}

impl TileImages {
    /// Images of these files; none is opened yet.
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self { files, decoded: BTreeMap::new() }
    }

    /// Reports whether there are no files.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Selects `count` sites with cores of `core` pixels (none without files), spread evenly over the files and, within an image, over a
    /// grid of 2 x 2, whose positions repeat from the fifth site of an image on. A single site lies in the centre of its image.
    ///
    /// # Errors
    /// A file that cannot be decoded.
    pub fn sites(&mut self, count: usize, core: usize) -> Result<Vec<Site>> {
        let used = self.files.len().min(count);
        let mut sites = Vec::new();
        for i in 0..used {
            let image = self.image(i * self.files.len() / used)?;
            let in_image = count / used + usize::from(i < count % used);
            for k in 0..in_image {
                let at = |extent: u32, part: usize, parts: usize| {
                    let free = extent as isize - core as isize;
                    free * (2 * part as isize + 1) / (2 * parts as isize)
                };
                let (column, row, parts) = if in_image == 1 { (0, 0, 1) } else { (k % 2, k / 2 % 2, 2) };
                let (left, top) = (at(image.width(), column, parts), at(image.height(), row, parts));
                sites.push(Site { left, top, core, image: Arc::clone(&image) });
            }
        }
        Ok(sites)
    }

    fn image(&mut self, index: usize) -> Result<Arc<RgbImage>> {
        if let Some(image) = self.decoded.get(&index) {
            return Ok(Arc::clone(image));
        }
        let path = &self.files[index];
        let image = Arc::new(read(path).doing(|| format!("reading {}", path.display()))?);
        self.decoded.insert(index, Arc::clone(&image));
        Ok(image)
    }
}

fn read(path: &Path) -> Result<RgbImage> {
    Ok(picture::decode(picture::open(path)?, MAX_BYTES, |_| Ok(()))?.into_rgb8())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]))
    }

    #[test]
    fn a_tile_with_a_halo_contains_its_core_in_the_centre() {
        let folder = tempfile::tempdir().unwrap();
        gradient(50, 20).save(folder.path().join("a.png")).unwrap();
        let files = find(&[folder.path().to_owned()]).unwrap();
        let site = &TileImages::new(files).sites(1, 32).unwrap()[0];
        let (small, large) = (site.tile(0), site.tile(64));
        for y in 0..32 {
            assert_eq!(small[y * 96..(y + 1) * 96], large[3 * ((y + 64) * 160 + 64)..][..96]);
        }
        assert_eq!(small[0], 9); // left = (50 - 32) / 2
        assert_eq!(small[1], 6); // top = (20 - 32) / 2 = -6, reflected
    }

    #[test]
    fn sites_are_spread_over_files_and_images() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("images")).unwrap();
        for name in ["b.png", "a.png", "c.txt"] {
            let path = folder.path().join("images").join(name);
            gradient(100, 100).save_with_format(path, image::ImageFormat::Png).unwrap();
        }
        let files = find(&[folder.path().to_owned()]).unwrap();
        assert_eq!(files.len(), 2);
        let mut images = TileImages::new(files);
        let sites = images.sites(4, 32).unwrap();
        assert_eq!(sites.iter().map(|s| (s.left, s.top)).collect::<Vec<_>>(), [(17, 17), (51, 17), (17, 17), (51, 17)]);
    }

    #[test]
    fn an_image_cut_short_is_refused_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.jpg");
        let whole = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/pictures/baseline.jpg")).unwrap();
        std::fs::write(&path, &whole).unwrap();
        assert!(TileImages::new(vec![path.clone()]).sites(1, 32).is_ok());
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let error = TileImages::new(vec![path]).sites(1, 32).err().expect("half of an image is no image");
        assert!(error.to_string().contains("cut.jpg") && error.hint_text().is_some(), "{error:?}");
    }

    #[test]
    fn several_selections_decode_each_file_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        gradient(100, 100).save(&path).unwrap();
        let mut images = TileImages::new(vec![path.clone()]);
        let first = images.sites(1, 32).unwrap()[0].tile(0);
        std::fs::remove_file(path).unwrap();
        let second = images.sites(4, 32).unwrap();
        assert_eq!(second.len(), 4);
        assert_eq!(images.sites(1, 32).unwrap()[0].tile(0), first);
    }

    #[test]
    fn errors_name_a_missing_path_and_a_folder_without_images() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: PathBuf| find(&[path]).unwrap_err().to_string();
        assert!(error(folder.path().join("none")).contains("none"));
        assert!(error(folder.path().to_owned()).contains("no images"));
    }
}
