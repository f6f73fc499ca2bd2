//! `nuclei.csv`: one nucleus a line.

use std::io::BufWriter;

use models::artifact::AtomicFile;
use models::{Error, Result};

use super::{Frame, Nucleus};

/// Writes lines as nuclei come.
pub struct TableWriter {
    csv: csv::Writer<BufWriter<AtomicFile>>,
    path: std::path::PathBuf,
    frame: Frame,
}

impl TableWriter {
    /// Starts a file with its line of names; lengths are in µm, or in level-0 pixels (`px`) where the scale is not known.
    pub fn new(file: AtomicFile, frame: Frame) -> Result<Self> {
        let path = file.path().to_owned();
        let mut writer = Self { csv: csv::Writer::from_writer(BufWriter::new(file)), path, frame };
        let unit = if frame.microns_per_pixel.is_some() { "um" } else { "px" };
        let fixed =
            ["id", "centroid_x_px", "centroid_y_px", "left_px", "top_px", "right_px", "bottom_px", "area_model_px"].map(str::to_owned);
        let measured = ["centroid_x", "centroid_y", "perimeter", "major_axis", "minor_axis"].map(|name| format!("{name}_{unit}"));
        let plain = ["eccentricity", "solidity", "mean_probability", "touches_border"].map(str::to_owned);
        let names = fixed.into_iter().chain([format!("area_{unit}2")]).chain(measured).chain(plain);
        writer.line(names)?;
        Ok(writer)
    }

    /// Adds a nucleus.
    pub fn add(&mut self, nucleus: &Nucleus) -> Result<()> {
        let shape = &nucleus.shape;
        let um = self.frame.microns_per_pixel.unwrap_or([1.0; 2]);
        let [x, y] = nucleus.centroid_px;
        let [left, top, right, bottom] = nucleus.box_px;
        let positions = [x, y, left, top, right, bottom].map(|value| format!("{value:.2}"));
        let lengths = [shape.area, x * um[0], y * um[1], shape.perimeter, shape.major_axis, shape.minor_axis];
        let shares = [shape.eccentricity, shape.solidity, nucleus.mean_probability];
        let line = [nucleus.id.to_string()].into_iter().chain(positions).chain([nucleus.area_px.to_string()]);
        let line = line.chain(lengths.map(|value| format!("{value:.3}"))).chain(shares.map(|value| format!("{value:.4}")));
        self.line(line.chain([u8::from(nucleus.touches_border).to_string()]))
    }

    /// Ends the file.
    pub fn finish(mut self) -> Result<AtomicFile> {
        self.csv.flush().map_err(|error| failed(&self.path, error))?;
        let path = self.path;
        let buffer = self.csv.into_inner().map_err(|error| failed(&path, error.into_error()))?;
        buffer.into_inner().map_err(|error| failed(&path, error.into_error()))
    }

    fn line(&mut self, fields: impl Iterator<Item = String>) -> Result<()> {
        self.csv.write_record(fields).map_err(|error| failed(&self.path, error))
    }
}

fn failed(path: &std::path::Path, error: impl std::error::Error + 'static) -> Error {
    Error::from(error).during(format!("writing {}", path.display()))
}
