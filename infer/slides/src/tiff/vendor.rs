//! Vendor-specific TIFF files: formats that need OpenSlide, and properties and scale of the other ones.

use std::collections::BTreeMap;

use support::Result;

use super::directory::Directory;
use super::file::BoundedFile;
use super::tag;
use super::{pyramid, text};
use crate::mpp::{self, Mpp, MppSource};

/// Returns the reason why a file has to be read by OpenSlide; `None` if the own reader supports the file.
pub fn needs_openslide(directories: &[Directory], file: &BoundedFile) -> Result<Option<&'static str>> {
    let first = &directories[0];
    let description = text(first, file, tag::IMAGE_DESCRIPTION)?.unwrap_or_default();
    let software = text(first, file, tag::SOFTWARE)?.unwrap_or_default();
    let compression = first.number(tag::COMPRESSION, 1, file)?;
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
    } else if first.has(tag::TILE_OFFSETS) && matches!(compression, 33003..=33005 | 34712) {
        Some("its tiles are JPEG 2000")
    } else if first.has(tag::TILE_OFFSETS) && !pyramid::COMPRESSIONS.contains(&compression) {
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

/// Returns the scale by the vendor's tag, or else by TIFF resolution and unit, with descriptions of implausible scales.
pub fn microns_per_pixel(first: &Directory, file: &BoundedFile) -> Result<(Option<Mpp>, Vec<String>)> {
    let description = text(first, file, tag::IMAGE_DESCRIPTION)?.unwrap_or_default();
    let vendor = aperio(&description).find(|(key, _)| *key == "MPP").and_then(|(_, value)| mpp::parse(value));
    let vendor = vendor.map(|value| Mpp { x: value, y: value, source: MppSource::Vendor }).or_else(|| ome(&description));
    let um_per_unit = match first.number(tag::RESOLUTION_UNIT, 2, file)? {
        2 => Some(25_400.0),
        3 => Some(10_000.0),
        _ => None,
    };
    let resolution = um_per_unit.zip(first.fraction(tag::X_RESOLUTION, file)?).zip(first.fraction(tag::Y_RESOLUTION, file)?);
    let resolution = resolution.map(|((um, x), y)| Mpp { x: um / x, y: um / y, source: MppSource::TiffResolution });
    Ok(mpp::first_plausible(vendor.into_iter().chain(resolution)))
}

/// Returns the scale of the first image of an OME-XML description; `None` unless it is in µm.
fn ome(description: &str) -> Option<Mpp> {
    let pixels = description.split_once("<OME")?.1.split_once("<Pixels")?.1.split_once('>')?.0;
    let attribute = |name: &str| Some(pixels.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0);
    let side = |axis: char| {
        let unit = attribute(&format!("PhysicalSize{axis}Unit")).unwrap_or("µm");
        matches!(unit, "µm" | "&#181;m" | "&#xb5;m" | "&#xB5;m" | "um")
            .then(|| attribute(&format!("PhysicalSize{axis}")).and_then(mpp::parse))?
    };
    Some(Mpp { x: side('X')?, y: side('Y')?, source: MppSource::Vendor })
}

/// Splits `Aperio Image Library ...|key = value|...` into pairs; other descriptions have none.
fn aperio(description: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = if description.starts_with("Aperio") { description } else { "" };
    pairs.split('|').skip(1).filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_scale_of_ome_xml_is_read_if_its_unit_is_micrometres() {
        let text = |unit: &str| {
            format!(
                r#"<?xml?><OME xmlns="x"><Image ID="Image:0"><Pixels ID="P" PhysicalSizeX="0.25" {unit} PhysicalSizeY="0.26" SizeX="9"><Channel/></Pixels></Image></OME>"#
            )
        };
        let mpp = super::ome(&text("")).unwrap();
        assert_eq!((mpp.x, mpp.y), (0.25, 0.26));
        assert!(super::ome(&text(r#"PhysicalSizeXUnit="µm""#)).is_some() && super::ome(&text(r#"PhysicalSizeXUnit="nm""#)).is_none());
        assert!(super::ome("Aperio").is_none());
    }

    #[test]
    fn aperio_pairs_are_read_from_aperio_descriptions_only() {
        let text = "Aperio Image Library v10\r\n46000x32914 -> 2220x2967|AppMag = 20|MPP = 0.4990|Left = 25.6";
        let pairs: Vec<_> = super::aperio(text).collect();
        assert_eq!(pairs, [("AppMag", "20"), ("MPP", "0.4990"), ("Left", "25.6")]);
        assert_eq!(super::aperio("x|MPP = 0.5").count(), 0);
    }
}
