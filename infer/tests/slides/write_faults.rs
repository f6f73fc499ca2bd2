//! Write faults: one failed write anywhere in any output file is an error, never a damaged file with a final name.

use infer::instances::{Extractor, FinishedInstances};
use infer::output::geojson::{Collection, Features};
use infer::output::labels::{Labels, write_png};
use infer::output::mask::MaskWriter;
use infer::output::ome::OmeLabels;
use infer::output::overlay::Overlay;
use infer::output::table::TableWriter;
use infer::output::{Frame, Nucleus, columns::ParquetWriter};
use infer::pyramid::PyramidWriter;
use slides::Rgb;
use slides::scaled::Scale;
use support::Result;
use support::durable::AtomicFile;

use crate::picture::{Darkness, card, tissue};
use crate::random::Random;

const WIDTH: usize = 700;
const HEIGHT: usize = 600;

/// Picture with its nuclei.
struct Content {
    picture: Rgb,
    finished: FinishedInstances,
    nuclei: Vec<Nucleus>,
    frame: Frame,
}

impl Content {
    /// Extracts the nuclei of a synthetic picture.
    fn new() -> Self {
        let picture = tissue(&mut Random(5), WIDTH, HEIGHT);
        let card = card(None);
        let mut extractor = Extractor::new(WIDTH, HEIGHT, &card.decoding);
        let mut finished = extractor.push(&Darkness::of(&picture.data, HEIGHT, WIDTH), &picture.data);
        finished.instances.extend(extractor.finish().instances);
        let size_px = [WIDTH, HEIGHT];
        let scale = Scale { level: 0, level_from_model: [1.0; 2], slide_from_model: [1.0; 2], size_px, effective_mpp: Some([0.5; 2]) };
        let frame = Frame::new(&scale, [0.0; 2]);
        let nuclei: Vec<Nucleus> = finished.instances.iter().map(|instance| Nucleus::new(instance, &frame)).collect();
        assert!(nuclei.len() > 50, "{} nuclei", nuclei.len());
        Self { picture, finished, nuclei, frame }
    }

    fn pyramid(&self, mut writer: PyramidWriter) -> Result<AtomicFile> {
        writer.push(&self.picture.data)?;
        writer.finish()
    }

    /// Writes the output file of a kind, which is the file name.
    fn write(&self, kind: &str, file: AtomicFile) -> Result<AtomicFile> {
        let sides = Some([0.5; 2]);
        let (instances, size) = (&self.finished.instances, [WIDTH, HEIGHT]);
        match kind {
            "labels.png" => {
                let mut labels = Labels::new(WIDTH, HEIGHT, || Ok(file))?;
                instances.iter().for_each(|instance| labels.add(instance));
                labels.settle(HEIGHT / 2)?;
                Ok(labels.finish()?.expect("few nuclei have a label image"))
            }
            "picture.png" => write_png(file, &self.picture.data, size, image::ExtendedColorType::Rgb8),
            "overlay.png" => {
                let mut overlay = Overlay::new(size, self.picture.clone());
                instances.iter().for_each(|instance| overlay.add_outline(instance));
                overlay.finish(file, [0, 255, 0])
            }
            "rgb.tif" => self.pyramid(PyramidWriter::new(file, WIDTH, HEIGHT, 3, sides)?),
            "jpeg.tif" => self.pyramid(PyramidWriter::of_jpeg(file, WIDTH, HEIGHT, sides)?),
            "mask.tif" => {
                let mut mask = MaskWriter::new(PyramidWriter::of_mask(file, WIDTH, HEIGHT, sides)?, WIDTH, HEIGHT);
                instances.iter().for_each(|instance| mask.add(&instance.runs));
                mask.finish()
            }
            "labels.ome.tif" => {
                let mut labels = OmeLabels::new(file, WIDTH, HEIGHT, sides)?;
                instances.iter().for_each(|instance| labels.add(instance));
                labels.finish()
            }
            "nuclei.csv" => {
                let mut table = TableWriter::new(file, self.frame)?;
                self.nuclei.iter().try_for_each(|nucleus| table.add(nucleus))?;
                table.finish()
            }
            "nuclei.parquet" => {
                let mut table = ParquetWriter::new(file, self.frame)?;
                self.nuclei.iter().try_for_each(|nucleus| table.add(nucleus))?;
                table.finish()
            }
            "nuclei.geojson.gz" => {
                let features = Features::new("ab", "cd", &card(None).classes[0], self.frame.unit());
                let mut collection = Collection::new(file)?;
                self.nuclei.iter().try_for_each(|nucleus| collection.add(&features.feature(nucleus, None).1))?;
                collection.finish()
            }
            other => panic!("{other} is no kind of output"),
        }
    }
}

const KINDS: [&str; 10] = [
    "labels.png",
    "picture.png",
    "overlay.png",
    "rgb.tif",
    "jpeg.tif",
    "mask.tif",
    "labels.ome.tif",
    "nuclei.csv",
    "nuclei.parquet",
    "nuclei.geojson.gz",
];

#[test]
fn one_failed_write_anywhere_is_an_error_for_every_kind_of_output() {
    let content = Content::new();
    let folder = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let path = folder.path().join(kind);
        content.write(kind, AtomicFile::create(&path).unwrap()).unwrap().commit().unwrap();
        let clean = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut failed = 0;
        loop {
            assert!(failed < 10_000, "{kind}: no end of writes");
            match content.write(kind, AtomicFile::create(&path).unwrap().with_fault_after(failed)) {
                Err(error) => {
                    assert!(error.to_string().contains(kind), "{kind}, write {failed}: {error:?}");
                    assert!(error.hint_text().is_some_and(|hint| hint.contains("disk is full")), "{kind}, write {failed}: {error:?}");
                    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "{kind}, write {failed}: something was left");
                }
                Ok(file) => {
                    file.commit().unwrap();
                    assert!(std::fs::read(&path).unwrap() == clean, "{kind}, write {failed}: success with a damaged file");
                    std::fs::remove_file(&path).unwrap();
                    break;
                }
            }
            failed += 1;
        }
        assert!(failed > 1, "{kind}: {failed} injected write faults");
    }
}
