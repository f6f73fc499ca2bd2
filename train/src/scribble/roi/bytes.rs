//! Where a selection's values stand, and its bytes as big-endian numbers.

use support::{Result, bail};

// Places in the header.
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
// Places in the second header.
pub(super) const NAME_AT: usize = 16;
pub(super) const NAME_LENGTH: usize = 20;
pub(super) const GROUP: usize = 30;
pub(super) const FLOAT_STROKE_WIDTH: usize = 36;

/// Big-endian numbers with a check of every place.
pub(super) struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    /// `N` bytes from a place on.
    pub fn at<const N: usize>(&self, place: usize) -> Result<[u8; N]> {
        match self.0.get(place..).and_then(|rest| rest.first_chunk::<N>()) {
            Some(bytes) => Ok(*bytes),
            None => {
                bail!("the selection ends at byte {}, expected {N} bytes at {place}", self.0.len(); hint: "the file is damaged or cut short: save it again in ImageJ")
            }
        }
    }

    /// A byte.
    pub fn u8(&self, place: usize) -> Result<u8> {
        self.at::<1>(place).map(|[byte]| byte)
    }

    /// Two bytes.
    pub fn u16(&self, place: usize) -> Result<u16> {
        self.at(place).map(u16::from_be_bytes)
    }

    /// Coordinates are signed, but those below -5000 are meant as large ones.
    pub fn coordinate(&self, place: usize) -> Result<f64> {
        let value = i16::from_be_bytes(self.at(place)?);
        Ok(if value < -5000 { f64::from(value as u16) } else { f64::from(value) })
    }

    /// Four bytes, signed.
    pub fn i32(&self, place: usize) -> Result<i32> {
        self.at(place).map(i32::from_be_bytes)
    }

    /// A finite number of four bytes.
    pub fn f32(&self, place: usize) -> Result<f64> {
        let value = f64::from(f32::from_be_bytes(self.at(place)?));
        if !value.is_finite() {
            bail!("expected a number at byte {place} of the selection, found {value}");
        }
        Ok(value)
    }
}
