//! Framing of event files (`TFRecord`): length u64, masked checksum of the length u32, payload, masked checksum of the payload u32,
//! all little-endian (`tensorflow/core/lib/io/record_writer.h`).

/// Appends one record.
pub fn push(out: &mut Vec<u8>, payload: &[u8]) {
    let length = (payload.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked_crc32c(&length).to_le_bytes());
    out.extend(payload);
    out.extend(masked_crc32c(payload).to_le_bytes());
}

/// Returns the payloads of a file up to its end or to the first truncated or damaged record.
pub fn payloads(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut payloads = Vec::new();
    while let Some((payload, rest)) = first(bytes) {
        payloads.push(payload);
        bytes = rest;
    }
    payloads
}

/// Splits off the first record; returns its payload and the rest, or `None` if the record is truncated or damaged.
fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (check, rest) = rest.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*check) != masked_crc32c(length) {
        return None;
    }
    let (payload, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (check, rest) = rest.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*check) == masked_crc32c(payload)).then_some((payload, rest))
}

/// Masked CRC-32C, the stored form: a CRC computed over data that contains plain CRCs would be weak.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Computes CRC-32C (Castagnoli; RFC 3720, section 12.1).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

/// CRC-32C of every byte value, reflected polynomial.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut crc, mut bit) = (i as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, appendix B.4.
    #[test]
    fn checksums_equal_the_examples_of_the_standard() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn records_are_read_up_to_the_first_damage() {
        let mut bytes = Vec::new();
        let all: [&[u8]; 3] = [b"one", b"", &[7; 300]];
        all.iter().for_each(|payload| push(&mut bytes, payload));
        assert_eq!(payloads(&bytes), all);
        let second_ends = 2 * 16 + 3;
        for cut in 0..bytes.len() {
            let whole = [19, second_ends].iter().filter(|end| **end <= cut).count();
            assert_eq!(payloads(&bytes[..cut]), all[..whole], "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 16;
            let whole = [19, second_ends].iter().filter(|end| **end <= at).count();
            assert_eq!(payloads(&damaged), all[..whole], "damaged at {at}");
        }
    }
}
