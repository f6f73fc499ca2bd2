//! The project's TIFF reader compared with OpenSlide, also on files that this project writes. Needs the library (`NUCLEI_OPENSLIDE`).

use std::path::{Path, PathBuf};

use infer::pyramid::PyramidWriter;
use slides::{Access, Slide};
use support::durable::AtomicFile;

use crate::picture::{card, run, save_tiff, shared, tissue};
use crate::random::Random;

fn library() -> Option<PathBuf> {
    let library = std::env::var_os("NUCLEI_OPENSLIDE").map(PathBuf::from);
    if library.is_none() {
        eprintln!("skipped: NUCLEI_OPENSLIDE does not name an OpenSlide library");
    }
    library
}

fn openslide(path: &Path) -> Option<Box<dyn Slide>> {
    let library = library()?;
    Some(slides::openslide::open(path, Access { library: Some(&library), ..Access::default() }, "this is a test").unwrap())
}

/// Kills the child processes with the name `infer` and returns their number.
fn kill_children() -> usize {
    let own = std::process::id().to_string();
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let (name, rest) = stat.rsplit_once(')').unwrap();
        if name.ends_with("(infer") && rest.split_whitespace().nth(1) == Some(&own) {
            let pid = entry.file_name().to_string_lossy().into_owned();
            killed += usize::from(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        }
    }
    killed
}

#[test]
fn a_child_process_reads_the_same_pixels_and_is_restarted_after_a_crash() {
    let Some(library) = library() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    save_tiff(&tissue(&mut Random(13), 2600, 1900), &path, Some(0.5));
    let in_process = openslide(&path).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_infer"));
    let access = Access { library: Some(&library), program: Some(program), channel: None };
    let in_child = slides::openslide::open(&path, access, "this is a test").unwrap();
    assert_eq!((in_process.levels(), in_process.microns_per_pixel()), (in_child.levels(), in_child.microns_per_pixel()));
    let mut killed = 0;
    for (x, y) in [(0, 0), (900, 300), (1700, 0), (100, 1100), (1500, 1000)] {
        let read = |slide: &dyn Slide| slide.read_region(0, x, y, 800, 700).unwrap();
        assert!(read(in_process.as_ref()) == read(in_child.as_ref()), "{x} {y}");
        killed += kill_children();
    }
    assert!(killed >= 5 && in_child.lost_tiles().is_empty(), "{killed} killed, lost: {:?}", in_child.lost_tiles());
    let error = slides::openslide::open(&folder.path().join("none.ndpi"), access, "this is a test").err().unwrap();
    assert!(error.to_string().contains("this is a test") && error.hint_text().is_some(), "{error:?}");
    let broken = Access { program: Some(Path::new("/bin/false")), ..access };
    let error = slides::openslide::open(&path, broken, "this is a test").err().unwrap();
    assert!(error.to_string().contains("process"), "{error:?}");
}

#[test]
fn openslide_reads_written_pyramids() {
    if library().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let picture = tissue(&mut Random(3), 1500, 1100);
    let path = folder.path().join("rgb.tif");
    save_tiff(&picture, &path, Some(0.5));
    let theirs = openslide(&path).unwrap();
    let ours = slides::open(&path, None).unwrap();
    assert_eq!(ours.levels(), theirs.levels());
    assert!((theirs.microns_per_pixel().unwrap()[0] - 0.5).abs() < 1e-4);
    for (level, size) in ours.levels().iter().enumerate() {
        let read = |slide: &dyn Slide| slide.read_region(level, 0, 0, size.width as usize, size.height as usize).unwrap();
        assert!(read(ours.as_ref()) == read(theirs.as_ref()), "level {level}");
    }
    let grey = folder.path().join("grey.tif");
    let values: Vec<u8> = picture.data.iter().step_by(3).copied().collect();
    let mut writer = PyramidWriter::new(AtomicFile::create(&grey).unwrap(), 1500, 1100, 1, None).unwrap();
    writer.push(&values).unwrap();
    writer.finish().unwrap().commit().unwrap();
    let region = openslide(&grey).unwrap().read_region(0, 0, 0, 1500, 1100).unwrap();
    assert!(region.data.iter().step_by(3).eq(values.iter()), "grey values are read back unchanged");
}

#[test]
fn an_ndpi_slide_is_segmented_or_the_missing_library_is_named() {
    let Some(path) = shared("test3-DAPI-2-387.ndpi") else { return };
    let nowhere = slides::open(&path, Some(Path::new("nowhere.so"))).err().expect("the library does not exist");
    assert!(nowhere.to_string().contains("NDPI") && nowhere.to_string().contains("nowhere.so"), "{nowhere:?}");
    let Some(library) = library() else { return };
    let folder = tempfile::tempdir().unwrap();
    let options = infer::segment::Options { out: folder.path().to_owned(), openslide: Some(library), ..Default::default() };
    let (summary, _) = run(&path, &card(Some(0.5)), 1, &options).unwrap();
    assert_eq!((summary.slide.reader.as_str(), summary.slide.size_px), ("openslide", [3968, 4864]));
    assert!((summary.scale.read_at.effective_mpp.unwrap()[0] - 0.5).abs() <= 0.005);
}
