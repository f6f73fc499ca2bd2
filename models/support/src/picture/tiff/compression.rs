//! Compression of tiles and strips, except JPEG.

use std::io::Read;

use crate::{Result, bail};

/// Compression of tiles or strips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Uncompressed samples.
    None,
    /// LZW, most significant bit first, with the early code switch of TIFF 6.0, section 13.
    Lzw,
    /// JPEG by TIFF Technical Note 2.
    Jpeg,
    /// Deflate in the zlib format (RFC 1950).
    Deflate,
    /// Run lengths of TIFF 6.0, section 9.
    PackBits,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// Returns the compression of a value of the field `Compression`; `None` if it is not supported.
    pub fn from_tag(value: u64) -> Option<Self> {
        Some(match value {
            1 => Self::None,
            5 => Self::Lzw,
            7 => Self::Jpeg,
            8 | 32946 => Self::Deflate,
            32773 => Self::PackBits,
            50000 => Self::Zstd,
            _ => return None,
        })
    }

    /// Decompresses at most `expected` bytes.
    ///
    /// # Errors
    /// Damaged data, or JPEG, which is decoded by [`super::part`].
    pub fn unpack(self, data: &[u8], expected: usize) -> Result<Vec<u8>> {
        match self {
            Self::None => Ok(data.to_vec()),
            Self::Deflate => deflate(data, expected),
            Self::Zstd => zstd(data, expected),
            Self::Lzw => lzw(data, expected),
            Self::PackBits => Ok(pack_bits(data, expected)),
            Self::Jpeg => bail!("expected compressed bytes, found a JPEG stream"),
        }
    }
}

fn deflate(data: &[u8], expected: usize) -> Result<Vec<u8>> {
    let mut samples = Vec::with_capacity(expected);
    flate2::read::ZlibDecoder::new(data).take(expected as u64).read_to_end(&mut samples)?;
    Ok(samples)
}

fn zstd(data: &[u8], expected: usize) -> Result<Vec<u8>> {
    let mut samples = Vec::with_capacity(expected);
    ruzstd::decoding::StreamingDecoder::new(data)?.take(expected as u64).read_to_end(&mut samples)?;
    Ok(samples)
}

fn lzw(data: &[u8], expected: usize) -> Result<Vec<u8>> {
    let mut samples = vec![0; expected];
    let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
    let (mut read, mut written) = (0, 0);
    while written < expected {
        let step = decoder.decode_bytes(&data[read..], &mut samples[written..]);
        (read, written) = (read + step.consumed_in, written + step.consumed_out);
        match step.status? {
            weezl::LzwStatus::Ok => {}
            weezl::LzwStatus::NoProgress | weezl::LzwStatus::Done => break,
        }
    }
    samples.truncate(written);
    Ok(samples)
}

fn pack_bits(data: &[u8], expected: usize) -> Vec<u8> {
    let mut samples = Vec::with_capacity(expected);
    let mut rest = data;
    while let [code, tail @ ..] = rest
        && samples.len() < expected
    {
        let code = i32::from(*code as i8);
        rest = match code {
            0.. => {
                let count = (code as usize + 1).min(tail.len());
                samples.extend_from_slice(&tail[..count]);
                &tail[count..]
            }
            -128 => tail,
            _ => {
                let Some((value, tail)) = tail.split_first() else { break };
                samples.extend(std::iter::repeat_n(*value, (1 - code) as usize));
                tail
            }
        };
    }
    samples
}
