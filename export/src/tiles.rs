//! Images on which the effective reach is measured, and the tiles cut from them.

use std::path::{Path, PathBuf};

use image::{ImageReader, RgbImage};
use models::plane::reflect_101;
use support::{Context, Result, bail, picture};

/// Decoded bytes of the largest image that is read.
const MAX_BYTES: u64 = 512 << 20;
const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "tif", "tiff"];

/// The image files named by `paths`, in the order of their names; a folder stands for the images in it, or in its `images/`.
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

/// A position in an image, around which tiles of any size are cut.
pub struct Site {
    image: RgbImage,
    /// Left edge of the core; negative where the core is wider than the image.
    left: isize,
    top: isize,
    core: usize,
}

impl Site {
    /// Side of [`Site::tile`].
    pub fn side(&self, halo: usize) -> usize {
        self.core + 2 * halo
    }

    /// The core with `halo` pixels around it, `H W 3`; beyond the image its reflection (reflect-101).
    pub fn tile(&self, halo: usize) -> Vec<u8> {
        let side = (self.core + 2 * halo) as isize;
        let (width, height) = (self.image.width() as usize, self.image.height() as usize);
        let columns: Vec<usize> = (0..side).map(|x| reflect_101(self.left - halo as isize + x, width)).collect();
        let rows = (0..side).map(|y| reflect_101(self.top - halo as isize + y, height));
        let pixels = self.image.as_raw();
        rows.flat_map(|y| columns.iter().flat_map(move |&x| pixels[3 * (y * width + x)..][..3].iter().copied())).collect()
    }
}

/// At most `count` sites of cores of `core` pixels, spread over the files and over the images.
pub fn sites(files: &[PathBuf], count: usize, core: usize) -> Result<Vec<Site>> {
    let used = files.len().min(count);
    let mut sites = Vec::new();
    for i in 0..used {
        let path = &files[i * files.len() / used];
        let image = read(path).doing(|| format!("reading {}", path.display()))?;
        let here = count / used + usize::from(i < count % used);
        for k in 0..here {
            let at = |extent: u32, part: usize, parts: usize| {
                let room = extent as isize - core as isize;
                room * (2 * part as isize + 1) / (2 * parts as isize)
            };
            let (column, row, parts) = if here == 1 { (0, 0, 1) } else { (k % 2, k / 2 % 2, 2) };
            sites.push(Site { left: at(image.width(), column, parts), top: at(image.height(), row, parts), core, image: image.clone() });
        }
    }
    Ok(sites)
}

fn read(path: &Path) -> Result<RgbImage> {
    let reader = ImageReader::open(path)?.with_guessed_format()?;
    Ok(picture::decode(reader, MAX_BYTES, |_| Ok(()))?.into_rgb8())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]))
    }

    #[test]
    fn a_larger_tile_holds_the_smaller_one_in_its_middle() {
        let folder = tempfile::tempdir().unwrap();
        gradient(50, 20).save(folder.path().join("a.png")).unwrap();
        let files = find(&[folder.path().to_owned()]).unwrap();
        let site = &sites(&files, 1, 32).unwrap()[0];
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
        let sites = sites(&files, 4, 32).unwrap();
        assert_eq!(sites.iter().map(|s| (s.left, s.top)).collect::<Vec<_>>(), [(17, 17), (51, 17), (17, 17), (51, 17)]);
    }

    #[test]
    fn an_image_cut_short_is_refused_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.jpg");
        let whole = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/pictures/baseline.jpg")).unwrap();
        std::fs::write(&path, &whole).unwrap();
        assert!(sites(std::slice::from_ref(&path), 1, 32).is_ok());
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let error = sites(&[path], 1, 32).err().expect("half of an image is no image");
        assert!(error.to_string().contains("cut.jpg") && error.hint_text().is_some(), "{error:?}");
    }

    #[test]
    fn a_missing_path_and_an_empty_folder_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: PathBuf| find(&[path]).unwrap_err().to_string();
        assert!(error(folder.path().join("none")).contains("none"));
        assert!(error(folder.path().to_owned()).contains("no images"));
    }
}
