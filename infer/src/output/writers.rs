//! All files of nuclei, fed from one stream.

use models::Result;
use models::card::Class;
use rayon::prelude::*;

use super::geojson::GeoJsonWriter;
use super::labels::Labels;
use super::mask::MaskWriter;
use super::overlay::Overlay;
use super::pyramid::PyramidWriter;
use super::summary::NucleusFacts;
use super::table::TableWriter;
use super::{Files, Frame, Nucleus};
use crate::instances::Harvest;
use crate::slide::scaled::Scale;

/// Names the source of nuclei in their ids.
pub struct Source<'a> {
    /// SHA-256 of the slide file.
    pub slide_sha256: &'a str,
    /// SHA-256 of the model file.
    pub model_sha256: &'a str,
    /// What the nuclei are.
    pub class: &'a Class,
}

/// GeoJSON, CSV, mask, labels and overlay.
pub struct Writers {
    frame: Frame,
    geojson: GeoJsonWriter,
    table: TableWriter,
    mask: MaskWriter,
    labels: Labels,
    overlay: Overlay,
    colour: [u8; 3],
    facts: NucleusFacts,
    area_sum: f64,
}

impl Writers {
    /// Starts all files.
    pub fn new(files: &Files, source: &Source<'_>, scale: &Scale, frame: Frame, overlay: Overlay) -> Result<Self> {
        let [width, height] = scale.size_px;
        let geojson = files.create("nuclei.geojson.gz")?;
        let pyramid = PyramidWriter::new(files.create("mask.tif")?, width, height, 1, scale.effective_mpp)?;
        Ok(Self {
            frame,
            geojson: GeoJsonWriter::new(geojson, source.slide_sha256, source.model_sha256, source.class, frame.unit())?,
            table: TableWriter::new(files.create("nuclei.csv")?, frame)?,
            mask: MaskWriter::new(pyramid, width, height),
            labels: Labels::new(width, height, || files.create("labels.png"))?,
            overlay,
            colour: source.class.colour,
            facts: NucleusFacts::default(),
            area_sum: 0.0,
        })
    }

    /// Adds what a band finished.
    pub fn add(&mut self, harvest: &Harvest) -> Result<()> {
        let made = harvest.instances.par_iter().map(|instance| {
            let nucleus = Nucleus::new(instance, &self.frame);
            let feature = self.geojson.feature(&nucleus);
            (nucleus, feature)
        });
        let made: Vec<(Nucleus, String)> = made.collect();
        for (instance, (nucleus, feature)) in harvest.instances.iter().zip(made) {
            self.geojson.add(&feature)?;
            self.table.add(&nucleus)?;
            self.mask.add(&instance.runs);
            self.labels.add(instance);
            self.overlay.add_outline(instance);
            self.facts.count += 1;
            self.facts.touching_border += u64::from(nucleus.touches_border);
            self.area_sum += nucleus.shape.area;
        }
        self.labels.settle(harvest.settled_rows as usize)?;
        self.mask.settle(harvest.settled_rows as usize)
    }

    /// Ends all files; the text says why there is no label image.
    pub fn finish(self, files: &mut Files) -> Result<(NucleusFacts, Option<String>)> {
        files.add(self.geojson.finish()?);
        files.add(self.table.finish()?);
        files.add(self.mask.finish()?);
        let note = match self.labels.finish()? {
            Ok(file) => {
                files.add(file);
                None
            }
            Err(why) => Some(format!("labels.png was not written: {why}; the labels are in nuclei.geojson.gz and mask.tif")),
        };
        files.add(self.overlay.finish(files.create("overlay.png")?, self.colour)?);
        let mean_area = (self.facts.count > 0).then(|| self.area_sum / self.facts.count as f64);
        Ok((NucleusFacts { mean_area, ..self.facts }, note))
    }
}
