//! Output files opened by readers of other projects: geojson and shapely, tifffile, OpenSlide, pyarrow, SQLite.
//!
//! The checks run in the Python that `NUCLEI_TEST_PYTHON` names, else in `python3`; a check whose modules are missing reports that it did not
//! run.

use std::path::{Path, PathBuf};
use std::process::Command;

use infer::output::ExtraOutput;
use infer::segment::Options;
use models::decode::Decoding;

use crate::picture::{card, run, save_tiff, tissue};
use crate::random::Random;

/// Runs a Python script that needs some modules; reports that it did not run and returns `None` if a module is missing.
pub fn ask_python(modules: &[&str], script: &str, arguments: &[&str]) -> Option<String> {
    let python = std::env::var("NUCLEI_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = |module: &&str| Command::new(&python).args(["-c", &format!("import {module}")]).output().is_ok_and(|o| o.status.success());
    if !modules.iter().all(has) {
        eprintln!("NOT RUN: {python} has no {modules:?} to read {arguments:?} with");
        return None;
    }
    let output = Command::new(python).args(["-c", script]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Segments two slides, one of them with a finer scale than the model and with unfilled holes; returns the number of nuclei and the results
/// folder of each.
fn slides(folder: &Path) -> [(u64, PathBuf); 2] {
    [(0.5, 1301, true), (0.25, 2150, false)].map(|(um_per_pixel, width, fill_holes)| {
        let path = folder.join(format!("{width}.tif"));
        save_tiff(&tissue(&mut Random(width as u64), width, 2100), &path, Some(um_per_pixel));
        let extra = vec![ExtraOutput::Parquet, ExtraOutput::AnnotationStore, ExtraOutput::Labels];
        let options = Options { out: folder.to_owned(), extra, ..Options::default() };
        let mut card = card(Some(0.5));
        card.decoding = Decoding { fill_holes, ..card.decoding };
        let (summary, out) = run(&path, &card, 1, &options).unwrap();
        (summary.nuclei.count, out)
    })
}

/// Runs one check of `readers.py` on both slides; the check prints the number of items that it compared.
fn check(name: &str, modules: &[&str], is_all: impl Fn(u64, u64) -> bool) {
    let folder = tempfile::tempdir().unwrap();
    for (nuclei, out) in slides(folder.path()) {
        assert!(nuclei > 100);
        let Some(output) = ask_python(modules, include_str!("readers.py"), &[name, out.to_str().unwrap()]) else { return };
        let checked = output.trim().parse().unwrap();
        assert!(is_all(checked, nuclei), "{name} compared {checked} items of {nuclei} nuclei");
    }
}

#[test]
fn geojson_and_shapely_read_every_field_that_qupath_needs() {
    check("qupath", &["geojson", "shapely"], |features, nuclei| features == nuclei);
}

#[test]
fn tifffile_reads_the_same_nuclei_from_mask_probability_and_labels() {
    check("tiff", &["tifffile", "imagecodecs", "numpy"], |pixels, _| pixels > 2 * 1000 * 1000);
}

#[test]
fn openslide_and_tifffile_read_the_same_pixels() {
    check("openslide", &["openslide", "tifffile", "imagecodecs", "numpy"], |pixels, _| pixels > 2 * 1000 * 1000);
}

#[test]
fn pyarrow_reads_the_columns_of_the_table() {
    check("parquet", &["pyarrow"], |rows, nuclei| rows == nuclei);
}

#[test]
fn sqlite_holds_the_outlines_of_the_geojson() {
    check("store", &["sqlite3", "shapely"], |annotations, nuclei| annotations == nuclei);
}
