//! `nuclei.csv`: one line per nucleus; and the columns of all tables of nuclei.

use std::io::BufWriter;

use support::Result;
use support::durable::AtomicFile;

use super::shared_file::SharedFile;
use super::{Frame, Nucleus};

/// Indices of columns in the full table that some tables leave out.
const CENTROID_X_UM: usize = 9;
const CENTROID_Y_UM: usize = 10;
const HEMATOXYLIN: usize = 20;

/// Kind of the values of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Integer.
    Count,
    /// Position in level-0 pixels.
    Position,
    /// Length or area.
    Length,
    /// Mean of a colour channel, 0 to 255.
    Colour,
    /// Number from 0 to 1, or an optical density.
    Share,
    /// Truth value, 0 or 1.
    Truth,
}

impl Field {
    fn text(self, value: f64) -> String {
        match self {
            Self::Count | Self::Truth => format!("{value:.0}"),
            Self::Position | Self::Colour => format!("{value:.2}"),
            Self::Length => format!("{value:.3}"),
            Self::Share => format!("{value:.4}"),
        }
    }
}

/// Returns names and kinds of the columns; lengths are in µm, or in level-0 pixels (`px`) if the scale is unknown.
///
/// Without a scale, the centroid stands in pixels only; without stains, there is no column of hematoxylin.
pub fn fields(frame: &Frame) -> Vec<(String, Field)> {
    let unit = if frame.microns_per_pixel.is_some() { "um" } else { "px" };
    let positions = ["centroid_x_px", "centroid_y_px", "left_px", "top_px", "right_px", "bottom_px"];
    let lengths = ["area_", "centroid_x_", "centroid_y_", "perimeter_", "major_axis_", "minor_axis_"];
    let length = |name: &str| format!("{name}{unit}{}", if name == "area_" { "2" } else { "" });
    let mut fields = vec![("id".to_owned(), Field::Count)];
    fields.extend(positions.map(|name| (name.to_owned(), Field::Position)));
    fields.push(("area_model_px".to_owned(), Field::Count));
    fields.extend(lengths.map(|name| (length(name), Field::Length)));
    fields.extend(["eccentricity", "solidity", "mean_probability"].map(|name| (name.to_owned(), Field::Share)));
    fields.extend(["mean_red", "mean_green", "mean_blue"].map(|name| (name.to_owned(), Field::Colour)));
    fields.push(("hematoxylin_od".to_owned(), Field::Share));
    fields.push(("touches_border".to_owned(), Field::Truth));
    fields.into_iter().enumerate().filter(|(column, _)| has_column(frame, *column)).map(|(_, field)| field).collect()
}

/// Reports whether a column of the full table is written.
fn has_column(frame: &Frame, column: usize) -> bool {
    match column {
        CENTROID_X_UM | CENTROID_Y_UM => frame.microns_per_pixel.is_some(),
        HEMATOXYLIN => frame.has_stains,
        _ => true,
    }
}

/// Returns the values of a nucleus, in the order of [`fields`].
pub fn row(nucleus: &Nucleus, frame: &Frame) -> Vec<f64> {
    let shape = &nucleus.shape;
    let um = frame.microns_per_pixel.unwrap_or([1.0; 2]);
    let [x, y] = nucleus.centroid_px;
    let [left, top, right, bottom] = nucleus.box_px;
    let all = [
        nucleus.id as f64,
        x,
        y,
        left,
        top,
        right,
        bottom,
        nucleus.area_px as f64,
        shape.area,
        x * um[0],
        y * um[1],
        shape.perimeter,
        shape.major_axis,
        shape.minor_axis,
        shape.eccentricity,
        shape.solidity,
        nucleus.mean_probability,
        nucleus.mean_rgb[0],
        nucleus.mean_rgb[1],
        nucleus.mean_rgb[2],
        nucleus.hematoxylin.unwrap_or(f64::NAN),
        f64::from(u8::from(nucleus.touches_border)),
    ];
    all.into_iter().enumerate().filter(|(column, _)| has_column(frame, *column)).map(|(_, value)| value).collect()
}

/// Streaming writer of the CSV file.
pub struct TableWriter {
    file: SharedFile,
    csv: csv::Writer<BufWriter<SharedFile>>,
    frame: Frame,
    fields: Vec<(String, Field)>,
}

impl TableWriter {
    /// Creates a file with the header line.
    pub fn new(file: AtomicFile, frame: Frame) -> Result<Self> {
        let file = SharedFile::new(file);
        let csv = csv::Writer::from_writer(BufWriter::new(file.clone()));
        let mut writer = Self { file, csv, frame, fields: fields(&frame) };
        let names: Vec<String> = writer.fields.iter().map(|(name, _)| name.clone()).collect();
        writer.line(&names)?;
        Ok(writer)
    }

    /// Adds a nucleus.
    pub fn add(&mut self, nucleus: &Nucleus) -> Result<()> {
        let values = row(nucleus, &self.frame);
        let line: Vec<String> = self.fields.iter().zip(values).map(|((_, field), value)| field.text(value)).collect();
        self.line(&line)
    }

    /// Finishes the file.
    pub fn finish(mut self) -> Result<AtomicFile> {
        self.csv.flush().map_err(|error| self.file.failed(error))?;
        drop(self.csv);
        self.file.into_file()
    }

    fn line(&mut self, fields: &[String]) -> Result<()> {
        self.csv.write_record(fields).map_err(|error| self.file.failed(error))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_column_has_a_name_of_its_own_in_every_table() {
        for microns_per_pixel in [None, Some([0.5; 2])] {
            for has_stains in [false, true] {
                let frame = Frame { slide_from_model: [1.0; 2], microns_per_pixel, origin: [0.0; 2], has_stains };
                let names: Vec<String> = fields(&frame).into_iter().map(|(name, _)| name).collect();
                assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
                assert_eq!(names.contains(&"hematoxylin_od".to_owned()), has_stains);
                assert_eq!(names.contains(&"centroid_x_um".to_owned()), microns_per_pixel.is_some());
            }
        }
    }
}
