//! The crate as a library: images in memory, slides, callbacks and the caller's own pixel source give the nuclei of `infer segment`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use infer::{ErrorKind, ExtraOutput, Finder, Image, Nucleus, PixelSlide, Pixels, Region, Result, Slide, open_slide};
use slides::{Level, Rgb};
use support::Error;

use crate::picture::{Darkness, model, save_tiff, tissue};
use crate::random::Random;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/models/format-1.onnx");

/// A finder whose network takes dark pixels for nuclei.
fn finder() -> Finder {
    Finder::from_network(model(Some(0.5)), Box::new(Darkness))
}

fn picture() -> Rgb {
    tissue(&mut Random(71), 700, 500)
}

fn saved(picture: &Rgb, folder: &Path) -> Box<dyn Slide> {
    let path = folder.join("a.tif");
    save_tiff(picture, &path, Some(0.5));
    open_slide(&path).unwrap()
}

/// Pixel source of the caller, with pixels in memory.
struct Remote(Rgb);

impl Pixels for Remote {
    fn levels(&self) -> Vec<Level> {
        vec![Level { width: self.0.width as u64, height: self.0.height as u64, downsample: 1.0 }]
    }

    fn read(&self, _: usize, x: i64, y: i64, width: usize, height: usize) -> Result<Rgb> {
        let mut region = Rgb::filled(width, height, slides::WHITE);
        region.paste(&self.0, -x, -y);
        Ok(region)
    }

    fn mpp(&self) -> Option<[f64; 2]> {
        Some([0.5; 2])
    }
}

#[test]
fn images_slides_callbacks_and_files_have_the_same_nuclei() {
    let folder = tempfile::tempdir().unwrap();
    let (finder, picture) = (finder(), picture());
    let image = Image::rgb8(picture.width, picture.height, &picture.data).unwrap().with_mpp(0.5).unwrap();
    let nuclei = finder.nuclei(&image).unwrap();
    assert!(nuclei.len() > 20, "{}", nuclei.len());

    let slide = saved(&picture, folder.path());
    assert_eq!(finder.nuclei(slide.as_ref()).unwrap(), nuclei, "a slide of the same pixels");
    let remote = Remote(picture);
    assert_eq!(finder.nuclei(&PixelSlide::new(&remote).unwrap()).unwrap(), nuclei, "a source of the caller");

    let mut visited: Vec<Nucleus> = Vec::new();
    let visit = finder.walk(slide.as_ref()).each(|nucleus| {
        visited.push(nucleus.clone());
        Ok(())
    });
    let visit = visit.unwrap();
    let summary = finder.walk(slide.as_ref()).writing(folder.path().join("out"), &[ExtraOutput::Parquet]).unwrap();
    assert_eq!((visit.nuclei, visited.len() as u64), (summary.nuclei.count, summary.nuclei.count));
    assert_eq!(visit.analysed_mm2, summary.areas.analysed_mm2);
    let table = std::fs::read_to_string(folder.path().join("out/a/nuclei.csv")).unwrap();
    for (row, nucleus) in table.lines().skip(1).zip(&visited) {
        assert!(row.starts_with(&format!("{},", nucleus.id)) && row.contains(&format!("{:.2}", nucleus.centroid_px[0])), "{row}");
    }
}

#[test]
fn a_region_keeps_exactly_the_nuclei_whose_centroid_lies_inside() {
    let folder = tempfile::tempdir().unwrap();
    let finder = finder();
    let slide = saved(&picture(), folder.path());
    let all = finder.nuclei(slide.as_ref()).unwrap();
    let region = Region::rectangle(201.5, 99.5, 433.0, 321.0);
    let mut inside: Vec<[f64; 2]> = Vec::new();
    let visit = finder.walk(slide.as_ref()).inside(&region).each(|nucleus| {
        inside.push(nucleus.centroid_px);
        Ok(())
    });
    let expected: Vec<[f64; 2]> = all.iter().filter(|nucleus| nucleus.centroid_in(&region)).map(|nucleus| nucleus.centroid_px).collect();
    assert!(expected.len() > 3 && expected.len() < all.len(), "{} of {}", expected.len(), all.len());
    assert_eq!(inside, expected);
    assert_eq!(visit.unwrap().nuclei, expected.len() as u64);
}

#[test]
fn a_model_file_is_checked_and_run_by_own_kernels() {
    let finder = Finder::open(MODEL).unwrap().threads(2).ready().unwrap();
    assert!(finder.device().starts_with("native in f32, own kernels, "), "{}", finder.device());
    let picture = picture();
    let image = Image::rgb8(picture.width, picture.height, &picture.data).unwrap();
    // The network of this file is constant, so that the whole image is one component.
    let nuclei = finder.nuclei(&image).unwrap();
    assert_eq!((nuclei.len(), nuclei[0].area_px, nuclei[0].unit), (1, 700 * 500, "px"));
}

#[test]
fn errors_have_a_kind_and_an_error_of_the_callback_ends_the_walk() {
    let folder = tempfile::tempdir().unwrap();
    let kind = |path: &Path| Finder::open(path).err().expect("no model").kind();
    assert_eq!(kind(Path::new("no/such/model.onnx")), ErrorKind::NotFound);
    let cut = folder.path().join("cut.onnx");
    let bytes = std::fs::read(MODEL).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(kind(&cut), ErrorKind::Damaged);
    let mut changed = bytes;
    changed[5000] ^= 1;
    std::fs::write(&cut, changed).unwrap();
    assert_eq!(kind(&cut), ErrorKind::Damaged);
    let key = folder.path().join("lab.pub");
    let unsigned = Finder::open(MODEL).unwrap().trusting(&key).err().expect("there is no key");
    assert_eq!(unsigned.kind(), ErrorKind::NotFound);

    let finder = finder();
    let slide = saved(&picture(), folder.path());
    let mut seen = 0;
    let ended = finder.walk(slide.as_ref()).each(|_| {
        seen += 1;
        if seen < 3 { Ok(()) } else { Err(Error::new("that is enough")) }
    });
    assert_eq!((ended.unwrap_err().to_string().as_str(), seen), ("that is enough", 3));
    let stopped = finder.walk(slide.as_ref()).until(Arc::new(AtomicUsize::new(15))).each(|_| Ok(()));
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Cancelled);
    let no_scale = Image::grey8(64, 64, &[9; 64 * 64]).unwrap();
    let error = finder.nuclei(&no_scale).unwrap_err();
    assert!(error.to_string().contains("scale") && error.hint_text().is_some(), "{error}");
}
