//! TIFF directories (IFDs) of a pyramid in BigTIFF: one per level, in a chain or nested in `SubIFDs`.

use support::Result;

use super::ome_xml::description;
use super::tiles::{Coding, rational};
use super::{PyramidWriter, TILE};

/// Directory entry: tag, type, number of values, and the value or the offset of the values.
type Field = (u16, u16, u64, u64);

impl PyramidWriter {
    /// Writes the directories of all levels as a chain; returns the offset of the first.
    pub(super) fn chain(&mut self) -> Result<u64> {
        let directories: Vec<Vec<u8>> = (0..self.levels.len()).map(|level| self.directory(level, Vec::new())).collect::<Result<_>>()?;
        let mut at = self.position;
        let first = at;
        for (i, mut directory) in directories.iter().cloned().enumerate() {
            at += directory.len() as u64 + 8;
            let next = if i + 1 < directories.len() { at } else { 0 };
            directory.extend(next.to_le_bytes());
            self.write(&directory)?;
        }
        Ok(first)
    }

    /// Writes the directories of reduced levels and then the directory of the first level, which refers to them; returns its offset.
    pub(super) fn nest(&mut self) -> Result<u64> {
        const IFD8: u16 = 18;
        let mut reduced = Vec::new();
        for level in 1..self.levels.len() {
            let directory = self.directory(level, Vec::new())?;
            reduced.push(self.position);
            self.write(&[directory, vec![0; 8]].concat())?;
        }
        let text = description(self.levels[0].width, self.levels[0].height, self.um_per_pixel) + "\0";
        let mut fields = vec![(270, 2, text.len() as u64, self.position)];
        self.write(text.as_bytes())?;
        if !reduced.is_empty() {
            fields.push((330, IFD8, reduced.len() as u64, self.list(&reduced)?));
        }
        let directory = self.directory(0, fields)?;
        let first = self.position;
        self.write(&[directory, vec![0; 8]].concat())?;
        Ok(first)
    }

    /// Returns the directory of a level with `further` entries, after writing the lists that do not fit into entries.
    fn directory(&mut self, level: usize, further: Vec<Field>) -> Result<Vec<u8>> {
        const SHORT: u16 = 3;
        const LONG: u16 = 4;
        const LONG8: u16 = 16;
        let (width, height) = (self.levels[level].width as u64, self.levels[level].height as u64);
        let offsets: Vec<u64> = self.levels[level].tiles.iter().map(|tile| tile.0).collect();
        let counts: Vec<u64> = self.levels[level].tiles.iter().map(|tile| tile.1).collect();
        let samples = if self.is_labels { 1 } else { self.samples as u64 };
        let bits = if self.is_labels { 32 } else { (0..samples).fold(0, |bits, i| bits | 8u64 << (16 * i)) };
        let photometric = self.coding.photometric(samples);
        let mut fields: Vec<Field> = vec![
            (254, LONG, 1, u64::from(level > 0)),
            (256, LONG, 1, width),
            (257, LONG, 1, height),
            (258, SHORT, samples, bits),
            (259, SHORT, 1, self.coding.tag()),
            (262, SHORT, 1, photometric),
            (277, SHORT, 1, samples),
            (284, SHORT, 1, 1),
            (317, SHORT, 1, self.coding.predictor()),
            (322, LONG, 1, TILE as u64),
            (323, LONG, 1, TILE as u64),
            (324, LONG8, offsets.len() as u64, self.list(&offsets)?),
            (325, LONG8, counts.len() as u64, self.list(&counts)?),
        ];
        if let Some(per_cm) = self.per_cm {
            let size = [self.levels[0].width as f64, self.levels[0].height as f64];
            let x = rational(per_cm[0] * width as f64 / size[0]);
            let y = rational(per_cm[1] * height as f64 / size[1]);
            fields.extend([(282, 5, 1, x), (283, 5, 1, y), (296, SHORT, 1, 3)]);
        }
        if self.coding == Coding::Jpeg {
            fields.push((530, SHORT, 2, 1 | 1 << 16)); // no chroma subsampling
        }
        fields.extend(further);
        Ok(encode(fields))
    }

    /// Returns the value field of a list of offsets: the only value, or the offset at which the list is written.
    fn list(&mut self, values: &[u64]) -> Result<u64> {
        if let [value] = values {
            return Ok(*value);
        }
        let at = self.position;
        self.write(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
        Ok(at)
    }
}

/// Returns the bytes of a directory without the offset of the next: the number of entries, then the entries by ascending tag.
fn encode(mut fields: Vec<Field>) -> Vec<u8> {
    fields.sort_by_key(|field| field.0);
    let mut directory = (fields.len() as u64).to_le_bytes().to_vec();
    for (tag, kind, count, value) in fields {
        directory.extend(u16::to_le_bytes(tag));
        directory.extend(u16::to_le_bytes(kind));
        directory.extend(u64::to_le_bytes(count));
        directory.extend(u64::to_le_bytes(value));
    }
    directory
}
