//! Reader of all formats of OpenSlide, through the library itself, which is loaded at run time.
//!
//! An error of OpenSlide persists: after one damaged tile, every later read of the handle fails. Pixels are therefore read in blocks. A
//! failed block is read once more through a new handle; if that fails too, the block is lost and the handle is replaced.

mod child;
mod ffi;
mod properties;
mod server;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use support::{Context, Result, bail};

use super::cache::TileKey;
use super::mpp;
use super::tiled::{TileSource, TiledSlide};
use super::{Contents, Facts, Rgb, Slide};
use child::{Children, Program};
use ffi::{Api, Handle};
use properties::{background, block_size, bounds, scales};
use server::SlideInfo;
pub use server::serve;
use support::library::{self, Library};

/// Oldest version that is used by default, because damaged files can make older ones write out of bounds.
const OLDEST: [u32; 3] = [4, 0, 1];

/// Access to OpenSlide.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access<'a> {
    /// Library file or its folder; by default, searched by [`library::locate`].
    pub library: Option<&'a Path>,
    /// Program with the command `slide-server`, whose processes load the library; by default, this process loads the library.
    pub program: Option<&'a Path>,
}

/// Opens a slide; `reason` tells the user why OpenSlide is necessary.
pub fn open(path: &Path, access: Access<'_>, reason: &str) -> Result<Box<dyn Slide>> {
    let doing = || format!("{reason}, so it is read by OpenSlide");
    let contents = Arc::new(Contents::by_name(path).doing(doing)?);
    if let Some(program) = access.program {
        let library = access.library.map(child::absolute).transpose()?;
        let program = Program { path: program.to_owned(), slide: child::absolute(path)?, library, time_limit: child::TIME_LIMIT };
        let (facts, children) = Children::start(program, |info| facts(path, contents, info)).doing(doing)?;
        return Ok(Box::new(TiledSlide::new(facts, children)));
    }
    let api = load(access.library).doing(doing)?;
    let handle = Handle::open(&api, path)?;
    let (facts, blocks) = facts(path, contents, SlideInfo { levels: handle.levels()?, properties: handle.properties()? })?;
    let source = OpenSlideBlocks { path: path.to_owned(), api, handle: Mutex::new(Arc::new(handle)), blocks };
    Ok(Box::new(TiledSlide::new(facts, source)))
}

/// Loads the library that the user named, or else the one that is found by default.
///
/// # Errors
/// A library that is missing, cannot be loaded, or is older than [`OLDEST`] without being named by the user.
fn load(library: Option<&Path>) -> Result<Arc<Api>> {
    let place = library::locate_checked(Library::OpenSlide, library)?.path;
    let api = Api::load(&place).doing(|| format!("loading {}", place.display()))?;
    let version = api.version();
    if parse_version(&version) < OLDEST {
        if library.is_none() {
            bail!("OpenSlide {version} at {} is unsafe with damaged files, expected 4.0.1 or newer", place.display(); hint: "type `infer runtime install`, or from a clone `cargo run --release -p infer -- runtime install`; an old library is used only if --openslide names it");
        }
        tracing::warn!(
            "OpenSlide {version} at {} is older than 4.0.1 and unsafe with damaged files; it is used because --openslide names it",
            place.display()
        );
    }
    Ok(api)
}

fn parse_version(text: &str) -> [u32; 3] {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// Builds the metadata of a slide and the layout of its blocks.
fn facts(path: &Path, contents: Arc<Contents>, SlideInfo { levels, properties }: SlideInfo) -> Result<(Facts, Blocks)> {
    if levels.is_empty() {
        bail!("OpenSlide finds no image in it");
    }
    let (mpp, implausible_mpp) = mpp::first_plausible(scales(&properties));
    let sizes = (0..levels.len()).map(|level| block_size(&properties, level)).collect();
    let blocks = Blocks { downsamples: levels.iter().map(|level| level.downsample).collect(), sizes, background: background(&properties) };
    let (bounds, background) = (bounds(&properties), blocks.background);
    let facts = Facts { mpp, implausible_mpp, bounds, background, properties, ..Facts::new(path, contents, "openslide", levels) };
    Ok((facts, blocks))
}

/// Layout of the blocks in which levels are read.
struct Blocks {
    /// Number of level-0 pixels per pixel, for each level.
    downsamples: Vec<f64>,
    /// Columns and rows of a block, for each level.
    sizes: Vec<[u64; 2]>,
    background: [u8; 3],
}

impl Blocks {
    /// Returns the upper left corner of a block in level-0 pixels.
    fn corner(&self, (level, column, row): TileKey) -> [i64; 2] {
        let [width, height] = self.sizes[level];
        [column * width, row * height].map(|at| (at as f64 * self.downsamples[level]).round() as i64)
    }
}

/// Source of blocks through a handle of this process.
struct OpenSlideBlocks {
    path: PathBuf,
    api: Arc<Api>,
    handle: Mutex<Arc<Handle>>,
    blocks: Blocks,
}

impl TileSource for OpenSlideBlocks {
    fn tile_size(&self, level: usize) -> [u64; 2] {
        self.blocks.sizes[level]
    }

    fn decode(&self, key: TileKey) -> Result<Rgb> {
        let handle = self.handle.lock().expect("no panic while a handle is held").clone();
        self.read(&handle, key).or_else(|_| self.read_again(key))
    }
}

impl OpenSlideBlocks {
    fn read(&self, handle: &Handle, key: TileKey) -> Result<Rgb> {
        let ([x, y], [width, height]) = (self.blocks.corner(key), self.blocks.sizes[key.0]);
        let argb = handle.read_region(key.0, x, y, width, height)?;
        Ok(Rgb { width: width as usize, height: height as usize, data: over_background(&argb, self.blocks.background) })
    }

    /// Reads a block through a new handle, under the lock: the error of another block may have persisted in the old handle.
    fn read_again(&self, key: TileKey) -> Result<Rgb> {
        let mut current = self.handle.lock().expect("no panic while a handle is held");
        *current = Arc::new(Handle::open(&self.api, &self.path)?);
        let result = self.read(&current, key);
        if result.is_err() {
            *current = Arc::new(Handle::open(&self.api, &self.path)?);
        }
        result
    }
}

/// Composites premultiplied ARGB over a background.
fn over_background(argb: &[u32], background: [u8; 3]) -> Vec<u8> {
    let mut data = Vec::with_capacity(argb.len() * 3);
    for &pixel in argb {
        let [alpha, red, green, blue] = pixel.to_be_bytes();
        if alpha == 255 {
            data.extend([red, green, blue]);
        } else {
            let rest = 255 - u32::from(alpha);
            let blend = |value: u8, below: u8| (u32::from(value) + (u32::from(below) * rest + 127) / 255).min(255) as u8;
            data.extend([blend(red, background[0]), blend(green, background[1]), blend(blue, background[2])]);
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WHITE;

    #[test]
    fn transparent_pixels_show_the_background() {
        assert_eq!(over_background(&[0, 0xff01_0203, 0x8040_0000], [255, 250, 0]), [255, 250, 0, 1, 2, 3, 191, 125, 0]);
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(parse_version("4.0.1") >= OLDEST && parse_version("4.10.0") >= OLDEST && parse_version("5") >= OLDEST);
        assert!(parse_version("3.4.1") < OLDEST && parse_version("4.0.0") < OLDEST && parse_version("") < OLDEST);
    }

    #[test]
    fn the_error_about_a_missing_library_names_the_path() {
        let error = load(Some(Path::new("nowhere/libopenslide.so.1"))).err().expect("there is no such library");
        assert!(error.to_string().contains("nowhere/libopenslide.so.1") && error.hint_text().is_some());
    }

    /// Each level is read as one region from its corner, because OpenSlide otherwise interpolates in levels with a fractional downsample.
    #[test]
    fn openslide_and_the_own_reader_give_the_same_pixels() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/slides");
        // Chroma at full resolution differs by the rounding of the inverse DCT; at half resolution by that of upsampling too.
        for (name, limit) in [("CMU-1-Small-Region.svs", 2), ("CMU-1-Small-Region_pyramid.tif", 5)] {
            let path = folder.join(name);
            let (Ok(api), true) = (load(None), path.exists()) else {
                eprintln!("skipped: OpenSlide or {name} is not here");
                return;
            };
            let theirs = Handle::open(&api, &path).unwrap();
            let ours = crate::open(&path, None).unwrap();
            assert_eq!((ours.facts().reader, ours.levels()), ("tiff", theirs.levels().unwrap().as_slice()));
            let mut counts = [0u64; 256];
            for (level, size) in ours.levels().iter().enumerate() {
                let region = ours.read_region(level, 0, 0, size.width as usize, size.height as usize).unwrap();
                let argb = theirs.read_region(level, 0, 0, size.width, size.height).unwrap();
                let pairs = region.data.iter().zip(over_background(&argb, WHITE));
                pairs.for_each(|(a, b)| counts[usize::from(a.abs_diff(b))] += 1);
            }
            let largest = counts.iter().rposition(|&count| count > 0).unwrap();
            eprintln!("{name}: samples by difference to OpenSlide: {:?}", &counts[..=largest]);
            assert!(largest <= limit, "{name}: a sample differs by {largest}");
        }
    }
}
