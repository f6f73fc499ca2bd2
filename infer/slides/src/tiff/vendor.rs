//! Vendor-specific TIFF files: formats that need OpenSlide, and properties and scale of the other ones.

use std::collections::BTreeMap;

use support::Result;
use support::picture::tiff::compression::Compression;
use support::picture::tiff::description::{self, Ome, PixelSize};
use support::picture::tiff::{BoundedFile, Directory, tag};

use super::text;
use crate::mpp::{self, Mpp, MppSource};

/// Returns the reason why a file has to be read by OpenSlide; `None` if the own reader supports the file.
///
/// The first directory names the vendor; `base` is that of the slide.
pub fn needs_openslide(directories: &[Directory], base: &Directory, file: &BoundedFile) -> Result<Option<&'static str>> {
    let first = &directories[0];
    let description = text(first, file, tag::IMAGE_DESCRIPTION)?.unwrap_or_default();
    let software = text(first, file, tag::SOFTWARE)?.unwrap_or_default();
    let compression = base.number(tag::COMPRESSION, 1, file)?;
    Ok(if first.has(tag::NDPI_FORMAT) {
        Some("it is a Hamamatsu NDPI file")
    } else if description.contains("www.leica-microsystems.com/scn") {
        Some("it is a Leica SCN file")
    } else if software.starts_with("Philips") {
        Some("it is a Philips TIFF file")
    } else if software.starts_with("MedScan") {
        Some("it is a Trestle file")
    } else if directories.iter().take(2).any(|directory| is_ventana(directory, file)) {
        Some("it is a Ventana file")
    } else if base.has(tag::TILE_OFFSETS) && matches!(compression, 33003..=33005 | 34712) {
        Some("its tiles are JPEG 2000")
    } else if base.has(tag::TILE_OFFSETS) && Compression::from_tag(compression).is_none() {
        Some("its tiles have a compression that the own reader does not support")
    } else {
        None
    })
}

/// Reports whether the XMP metadata of a directory is that of a Ventana scanner.
fn is_ventana(directory: &Directory, file: &BoundedFile) -> bool {
    matches!(directory.raw(tag::XMP, file), Ok(Some(bytes)) if bytes.windows(5).any(|window| window == b"iScan"))
}

/// Returns Aperio's `key = value` pairs and the TIFF resolution.
pub fn properties(first: &Directory, file: &BoundedFile) -> Result<BTreeMap<String, String>> {
    let description = text(first, file, tag::IMAGE_DESCRIPTION)?.unwrap_or_default();
    let mut properties: BTreeMap<_, _> = aperio(&description).map(|(key, value)| (format!("aperio.{key}"), value.to_owned())).collect();
    for (name, number) in [("tiff.XResolution", tag::X_RESOLUTION), ("tiff.YResolution", tag::Y_RESOLUTION)] {
        if let Some(value) = first.fraction(number, file)? {
            properties.insert(name.to_owned(), value.to_string());
        }
    }
    Ok(properties)
}

/// Returns the scale by the vendor's tag, by OME or `ImageJ`, or else by TIFF resolution and unit; with descriptions of scales that were
/// found and are not used.
pub fn microns_per_pixel(base: &Directory, file: &BoundedFile) -> Result<(Option<Mpp>, Vec<String>)> {
    let description = text(base, file, tag::IMAGE_DESCRIPTION)?.unwrap_or_default();
    let per_unit = base.fraction(tag::X_RESOLUTION, file)?.zip(base.fraction(tag::Y_RESOLUTION, file)?).map(|(x, y)| [x, y]);
    let vendor = aperio(&description).find(|(key, _)| *key == "MPP").and_then(|(_, value)| mpp::parse(value));
    let vendor = vendor.map(|value| PixelSize::Microns([value; 2]));
    let imagej = per_unit.and_then(|per_unit| description::imagej_pixel_size(&description, per_unit));
    let mut unknown = Vec::new();
    let mut found = Vec::new();
    for size in [vendor, Ome::parse(&description).and_then(|ome| ome.pixel_size()), imagej].into_iter().flatten() {
        match size {
            PixelSize::Microns([x, y]) => found.push(Mpp { x, y, source: MppSource::Vendor }),
            PixelSize::Unknown(text) => unknown.push(text),
        }
    }
    match (base.number(tag::RESOLUTION_UNIT, 2, file)?, per_unit) {
        (2, Some([x, y])) => found.push(Mpp { x: 25_400.0 / x, y: 25_400.0 / y, source: MppSource::TiffResolution }),
        (3, Some([x, y])) => found.push(Mpp { x: 10_000.0 / x, y: 10_000.0 / y, source: MppSource::TiffResolution }),
        (_, Some([x, _])) if x != 1.0 => unknown.push(format!("the TIFF resolution is {x} pixels per unit, without a unit of length")),
        _ => {}
    }
    let (mpp, implausible) = mpp::first_plausible(found);
    Ok((mpp, unknown.into_iter().chain(implausible).collect()))
}

/// Splits `Aperio Image Library ...|key = value|...` into pairs; other descriptions have none.
fn aperio(description: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = if description.starts_with("Aperio") { description } else { "" };
    pairs.split('|').skip(1).filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn aperio_pairs_are_read_from_aperio_descriptions_only() {
        let text = "Aperio Image Library v10\r\n46000x32914 -> 2220x2967|AppMag = 20|MPP = 0.4990|Left = 25.6";
        let pairs: Vec<_> = super::aperio(text).collect();
        assert_eq!(pairs, [("AppMag", "20"), ("MPP", "0.4990"), ("Left", "25.6")]);
        assert_eq!(super::aperio("x|MPP = 0.5").count(), 0);
    }
}
