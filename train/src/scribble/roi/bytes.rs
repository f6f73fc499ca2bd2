//! Field offsets of `ImageJ`'s `.roi` format, and bounds-checked reading of big-endian values.

use support::{Result, bail};

// Offsets in the header.
pub(super) const VERSION: usize = 4;
pub(super) const TYPE: usize = 6;
pub(super) const BOUNDS: usize = 8;
pub(super) const COUNT: usize = 16;
pub(super) const LINE: usize = 18;
pub(super) const STROKE_WIDTH: usize = 34;
pub(super) const COMPOSITE_SIZE: usize = 36;
pub(super) const SUBTYPE: usize = 48;
pub(super) const OPTIONS: usize = 50;
pub(super) const SECOND_HEADER: usize = 60;
pub(super) const COORDINATES: usize = 64;
// Offsets in the second header.
pub(super) const NAME_AT: usize = 16;
pub(super) const NAME_LENGTH: usize = 20;
pub(super) const GROUP: usize = 30;
pub(super) const FLOAT_STROKE_WIDTH: usize = 36;

/// Bytes of a selection, read as big-endian values with bounds checks.
pub(super) struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    /// Reads `N` bytes at `offset`.
    pub fn at<const N: usize>(&self, offset: usize) -> Result<[u8; N]> {
        match self.0.get(offset..).and_then(|rest| rest.first_chunk::<N>()) {
            Some(bytes) => Ok(*bytes),
            None => {
                bail!("the selection ends at byte {}, expected {N} bytes at {offset}", self.0.len(); hint: "the file is damaged or cut short: save it again in ImageJ")
            }
        }
    }

    /// Reads a u8.
    pub fn u8(&self, offset: usize) -> Result<u8> {
        self.at::<1>(offset).map(|[byte]| byte)
    }

    /// Reads a u16.
    pub fn u16(&self, offset: usize) -> Result<u16> {
        self.at(offset).map(u16::from_be_bytes)
    }

    /// Reads a 16-bit coordinate, which is signed, except that values below -5000 stand for unsigned ones (32768 to 60535).
    pub fn coordinate(&self, offset: usize) -> Result<f64> {
        let value = i16::from_be_bytes(self.at(offset)?);
        Ok(if value < -5000 { f64::from(value as u16) } else { f64::from(value) })
    }

    /// Reads an i32.
    pub fn i32(&self, offset: usize) -> Result<i32> {
        self.at(offset).map(i32::from_be_bytes)
    }

    /// Reads an f32 that must be finite.
    pub fn f32(&self, offset: usize) -> Result<f64> {
        let value = f64::from(f32::from_be_bytes(self.at(offset)?));
        if !value.is_finite() {
            bail!("expected a finite number at byte {offset} of the selection, found {value}");
        }
        Ok(value)
    }
}
