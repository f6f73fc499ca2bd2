//! All files of nuclei, fed from one stream.

use models::Result;
use models::card::Class;
use rayon::prelude::*;

use super::annotation_store::AnnotationStore;
use super::columns::ParquetWriter;
use super::geojson::GeoJsonWriter;
use super::labels::Labels;
use super::mask::MaskWriter;
use super::overlay::Overlay;
use super::pyramid::PyramidWriter;
use super::summary::NucleusFacts;
use super::table::TableWriter;
use super::{Extra, Files, Frame, Nucleus};
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

/// GeoJSON, CSV, mask, labels and overlay; Parquet and an annotation store on demand.
pub struct Writers {
    frame: Frame,
    geojson: GeoJsonWriter,
    table: TableWriter,
    parquet: Option<ParquetWriter>,
    store: Option<AnnotationStore>,
    mask: MaskWriter,
    labels: Labels,
    overlay: Overlay,
    colour: [u8; 3],
    facts: NucleusFacts,
    area_sum: f64,
}

impl Writers {
    /// Starts all files.
    pub fn new(files: &Files, extra: &[Extra], source: &Source<'_>, scale: &Scale, frame: Frame, overlay: Overlay) -> Result<Self> {
        let [width, height] = scale.size_px;
        let geojson = files.create("nuclei.geojson.gz")?;
        let on_demand = |kind: Extra| extra.contains(&kind).then(|| files.create(kind.file())).transpose();
        let pyramid = PyramidWriter::new(files.create("mask.tif")?, width, height, 1, scale.effective_mpp)?;
        Ok(Self {
            frame,
            geojson: GeoJsonWriter::new(geojson, source.slide_sha256, source.model_sha256, source.class, frame.unit())?,
            table: TableWriter::new(files.create("nuclei.csv")?, frame)?,
            parquet: on_demand(Extra::Parquet)?.map(|file| ParquetWriter::new(file, frame)).transpose()?,
            store: on_demand(Extra::AnnotationStore)?.map(|file| AnnotationStore::new(file, source.class)).transpose()?,
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
            let (id, feature) = self.geojson.feature(&nucleus);
            let annotation = self.store.as_ref().map(|store| store.annotation(&nucleus, id)).transpose()?;
            Ok((nucleus, feature, annotation))
        });
        let made: Vec<_> = made.collect::<Result<_>>()?;
        for (instance, (nucleus, feature, annotation)) in harvest.instances.iter().zip(made) {
            self.geojson.add(&feature)?;
            self.table.add(&nucleus)?;
            if let Some(parquet) = &mut self.parquet {
                parquet.add(&nucleus)?;
            }
            if let (Some(store), Some(annotation)) = (&mut self.store, annotation) {
                store.add(&nucleus, &annotation)?;
            }
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
        if let Some(parquet) = self.parquet {
            files.add(parquet.finish()?);
        }
        if let Some(store) = self.store {
            files.add(store.finish()?);
        }
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
