//! Writer of all output files of nuclei, from one stream of instances.

use models::card::Class;
use rayon::prelude::*;
use support::Result;
use uuid::Uuid;

#[cfg(feature = "sqlite")]
use super::annotation_store::{Annotation, AnnotationStore};
use super::collections::Collections;
#[cfg(feature = "parquet")]
use super::columns::ParquetWriter;
use super::geojson::Features;
use super::labels::Labels;
use super::mask::MaskWriter;
use super::ome::OmeLabels;
use super::overlay::Overlay;
use super::simplify::simplified;
use super::summary::NucleusFacts;
use super::table::TableWriter;
use super::{ExtraOutput, Files, Frame, Nucleus, Outlines};
use crate::instances::FinishedInstances;
use crate::pyramid::PyramidWriter;
use slides::scaled::Scale;

/// Slide, model and class of nuclei, which determine their ids.
pub struct Source<'a> {
    /// SHA-256 of the slide, see [`slides::Contents::sha256`].
    pub slide_sha256: &'a str,
    /// SHA-256 of the model file.
    pub model_sha256: &'a str,
    /// Class of the nuclei.
    pub class: &'a Class,
}

/// Optional files, and form of the outlines.
pub struct Wanted<'a> {
    /// Optional output files.
    pub extra: &'a [ExtraOutput],
    /// Sharding and simplification of the outlines.
    pub outlines: &'a Outlines,
}

/// Nucleus with its id and its GeoJSON feature.
type Record = (Nucleus, Uuid, String);

/// Streaming writer of GeoJSON, CSV, mask, labels and overlay; optionally of Parquet, an annotation store and OME labels.
pub struct Writers {
    frame: Frame,
    features: Features,
    collections: Collections,
    /// Tolerance of simplified outlines in pixels of the model; 0 for exact outlines.
    simplify_px: f64,
    table: TableWriter,
    #[cfg(feature = "parquet")]
    parquet: Option<ParquetWriter>,
    #[cfg(feature = "sqlite")]
    store: Option<AnnotationStore>,
    mask: MaskWriter,
    labels: Labels,
    ome: Option<OmeLabels>,
    overlay: Overlay,
    class: Class,
    facts: NucleusFacts,
    /// Sum of the areas, in square units of the frame.
    area_sum: f64,
}

impl Writers {
    /// Creates all files under temporary names.
    pub fn new(files: &Files, wanted: &Wanted<'_>, source: &Source<'_>, scale: &Scale, frame: Frame, overlay: Overlay) -> Result<Self> {
        let [width, height] = scale.size_px;
        let Wanted { extra, outlines } = wanted;
        let optional = |kind: ExtraOutput| extra.contains(&kind).then(|| files.create(kind.file())).transpose();
        let pyramid = PyramidWriter::of_mask(files.create("mask.tif")?, width, height, scale.effective_mpp)?;
        Ok(Self {
            frame,
            features: Features::new(source.slide_sha256, source.model_sha256, source.class, frame.unit()),
            collections: Collections::new(files, outlines)?,
            simplify_px: outlines.simplify_px,
            table: TableWriter::new(files.create("nuclei.csv")?, frame)?,
            #[cfg(feature = "parquet")]
            parquet: optional(ExtraOutput::Parquet)?.map(|file| ParquetWriter::new(file, frame)).transpose()?,
            #[cfg(feature = "sqlite")]
            store: optional(ExtraOutput::AnnotationStore)?.map(AnnotationStore::new).transpose()?,
            mask: MaskWriter::new(pyramid, width, height),
            labels: Labels::new(width, height, || files.create("labels.png"))?,
            ome: optional(ExtraOutput::Labels)?.map(|file| OmeLabels::new(file, width, height, scale.effective_mpp)).transpose()?,
            overlay,
            class: source.class.clone(),
            facts: NucleusFacts::default(),
            area_sum: 0.0,
        })
    }

    /// Writes the instances that a band finished, and the rows that no later instance changes.
    pub fn add(&mut self, finished: &FinishedInstances) -> Result<()> {
        let records = finished.instances.par_iter().map(|instance| {
            let nucleus = Nucleus::new(instance, &self.frame);
            let drawn = (self.simplify_px > 0.0).then(|| self.frame.place(&simplified(&instance.rings, self.simplify_px)));
            let (id, feature) = self.features.feature(&nucleus, drawn.as_deref());
            (nucleus, id, feature)
        });
        let records: Vec<Record> = records.collect();
        #[cfg(feature = "sqlite")]
        self.add_annotations(&records)?;
        for (instance, (nucleus, _, feature)) in finished.instances.iter().zip(&records) {
            self.collections.add(nucleus, feature)?;
            self.table.add(nucleus)?;
            #[cfg(feature = "parquet")]
            self.parquet.iter_mut().try_for_each(|parquet| parquet.add(nucleus))?;
            self.mask.add(&instance.runs);
            self.labels.add(instance);
            self.ome.iter_mut().for_each(|ome| ome.add(instance));
            self.overlay.add_outline(instance);
            self.facts.count += 1;
            self.facts.touching_border += u64::from(nucleus.touches_border);
            self.area_sum += nucleus.shape.area;
        }
        let rows = finished.settled_rows as usize;
        self.collections.settle(rows, &self.frame)?;
        self.labels.settle(rows)?;
        self.ome.iter_mut().try_for_each(|ome| ome.settle(rows))?;
        self.mask.settle(rows)
    }

    /// Adds nuclei to the annotation store, if there is one; their polygons are encoded in parallel.
    #[cfg(feature = "sqlite")]
    fn add_annotations(&mut self, records: &[Record]) -> Result<()> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let annotations = records.par_iter().map(|(nucleus, id, _)| Annotation::new(nucleus, *id, &self.class));
        let annotations: Vec<Annotation> = annotations.collect::<Result<_>>()?;
        records.iter().zip(&annotations).try_for_each(|((nucleus, ..), annotation)| store.add(nucleus, annotation))
    }

    /// Finishes all files and adds them to `files`; returns the statistics, and a note if `labels.png` was not written.
    pub fn finish(self, files: &mut Files) -> Result<(NucleusFacts, Option<String>)> {
        self.collections.finish()?.into_iter().for_each(|file| files.add(file));
        files.add(self.table.finish()?);
        #[cfg(feature = "parquet")]
        if let Some(parquet) = self.parquet {
            files.add(parquet.finish()?);
        }
        #[cfg(feature = "sqlite")]
        if let Some(store) = self.store {
            files.add(store.finish()?);
        }
        if let Some(ome) = self.ome {
            files.add(ome.finish()?);
        }
        files.add(self.mask.finish()?);
        let note = match self.labels.finish()? {
            Ok(file) => {
                files.add(file);
                None
            }
            Err(reason) => Some(format!("labels.png was not written: {reason}; the labels are in nuclei.geojson.gz and mask.tif")),
        };
        files.add(self.overlay.finish(files.create("overlay.png")?, self.class.colour)?);
        let mean_area = (self.facts.count > 0).then(|| self.area_sum / self.facts.count as f64);
        Ok((NucleusFacts { mean_area, ..self.facts }, note))
    }
}
