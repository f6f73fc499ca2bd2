//! Metadata of OME-TIFF (OME-XML) and `ImageJ` in the field `ImageDescription`: channels, depth and scale.

/// Sides of a pixel as a file states them.
#[derive(Clone, Debug, PartialEq)]
pub enum PixelSize {
    /// µm per pixel along x and y.
    Microns([f64; 2]),
    /// Text of a statement whose unit is no length, for messages.
    Unknown(String),
}

/// Metadata of the first image of an OME-XML text.
pub struct Ome<'a> {
    /// Start tag of the element `Pixels`.
    pixels: &'a str,
    /// Text between the start tag and the end of the element.
    inner: &'a str,
}

impl<'a> Ome<'a> {
    /// Finds the first image of an OME-XML text; `None` for other texts.
    pub fn parse(description: &'a str) -> Option<Self> {
        let rest = description.split_once("<OME")?.1.split_once("<Pixels")?.1;
        let (pixels, inner) = rest.split_once('>')?;
        Some(Self { pixels, inner: inner.split_once("</Pixels").map_or(inner, |(inner, _)| inner) })
    }

    /// Returns the names of the channels; `None` for channels without a name.
    pub fn channels(&self) -> Vec<Option<String>> {
        let tags = self.inner.split("<Channel").skip(1).filter(|rest| rest.starts_with([' ', '>', '/', '\n', '\r', '\t']));
        tags.map(|rest| attribute(rest.split('>').next().unwrap_or(""), "Name").map(unescaped)).collect()
    }

    /// Returns the bits of a sample that carry values, if stated.
    pub fn significant_bits(&self) -> Option<u32> {
        attribute(self.pixels, "SignificantBits")?.parse().ok()
    }

    /// Returns the index of the image directory of a channel's first plane.
    pub fn directory_of_channel(&self, channel: usize) -> usize {
        let planes = self.inner.split("<TiffData").skip(1).map(|rest| rest.split('>').next().unwrap_or(""));
        let number = |text: &str, name: &str| attribute(text, name).and_then(|value| value.parse::<usize>().ok());
        let named = planes.filter(|tag| number(tag, "FirstC") == Some(channel) && number(tag, "FirstZ").unwrap_or(0) == 0);
        let named = named.filter(|tag| number(tag, "FirstT").unwrap_or(0) == 0).find_map(|tag| number(tag, "IFD"));
        let size = |axis: char| attribute(self.pixels, &format!("Size{axis}")).and_then(|value| value.parse().ok()).unwrap_or(1usize);
        named.unwrap_or_else(|| {
            let order = attribute(self.pixels, "DimensionOrder").unwrap_or("XYCZT");
            channel * order.chars().skip(2).take_while(|axis| *axis != 'C').map(size).product::<usize>()
        })
    }

    /// Returns the sides of a pixel, if stated.
    pub fn pixel_size(&self) -> Option<PixelSize> {
        let side = |axis: char| {
            let value = attribute(self.pixels, &format!("PhysicalSize{axis}"))?;
            let unit = attribute(self.pixels, &format!("PhysicalSize{axis}Unit")).map_or_else(|| "µm".to_owned(), unescaped);
            Some((value.to_owned(), unit))
        };
        let (x, y) = (side('X')?, side('Y')?);
        let um = |(value, unit): &(String, String)| Some(value.trim().parse::<f64>().ok()? * microns_per(unit)?);
        Some(match (um(&x), um(&y)) {
            (Some(x), Some(y)) => PixelSize::Microns([x, y]),
            _ => PixelSize::Unknown(format!("OME says {} {:?} x {} {:?}", x.0, x.1, y.0, y.1)),
        })
    }
}

/// Returns the lines `key=value` of `ImageJ`; `None` for other texts.
pub fn imagej<'a>(description: &'a str, key: &str) -> Option<&'a str> {
    let lines = description.strip_prefix("ImageJ=").map(str::lines)?;
    lines.filter_map(|line| line.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| value.trim())
}

/// Returns the sides of a pixel by `ImageJ`'s unit; `pixels_per_unit` are the fields `XResolution` and `YResolution`.
pub fn imagej_pixel_size(description: &str, pixels_per_unit: [f64; 2]) -> Option<PixelSize> {
    let unit = imagej(description, "unit")?;
    let units = [unit, imagej(description, "yunit").unwrap_or(unit)].map(unescaped);
    Some(match [0, 1].map(|i| microns_per(&units[i]).map(|um| um / pixels_per_unit[i])) {
        [Some(x), Some(y)] => PixelSize::Microns([x, y]),
        _ => PixelSize::Unknown(format!("ImageJ says {} pixels per {unit:?}", pixels_per_unit[0])),
    })
}

/// Returns the length of a unit in µm; `None` for units that are no length.
fn microns_per(unit: &str) -> Option<f64> {
    Some(match unit.trim() {
        "m" | "meter" | "metre" => 1e6,
        "cm" | "centimeter" | "centimetre" => 1e4,
        "mm" | "millimeter" | "millimetre" => 1e3,
        // Micro sign, Greek mu, and the micro sign of Latin-1 read as UTF-8.
        "µm" | "μm" | "\u{fffd}m" | "um" | "micron" | "microns" | "micrometer" | "micrometers" | "micrometre" => 1.0,
        "nm" | "nanometer" | "nanometre" => 1e-3,
        "pm" => 1e-6,
        "Å" | "\u{212b}" => 1e-4,
        "in" | "inch" | "inches" | "\"" => 25_400.0,
        _ => return None,
    })
}

/// Returns the value of an attribute of a start tag.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    tag.match_indices(name).find_map(|(at, _)| {
        let before = tag[..at].chars().next_back().is_none_or(char::is_whitespace);
        let rest = tag[at + name.len()..].trim_start().strip_prefix('=')?.trim_start();
        let quote = rest.chars().next().filter(|quote| before && matches!(quote, '"' | '\''))?;
        rest[1..].split_once(quote).map(|(value, _)| value)
    })
}

/// Resolves the character references of XML and `ImageJ` that occur in units and names.
fn unescaped(text: &str) -> String {
    let mut text = text.to_owned();
    for (reference, character) in [
        ("&#181;", "µ"),
        ("&#xb5;", "µ"),
        ("&#xB5;", "µ"),
        ("&#956;", "μ"),
        ("&#x3bc;", "μ"),
        ("&#x3BC;", "μ"),
        ("\\u00B5", "µ"),
        ("\\u00b5", "µ"),
        ("\\u03BC", "μ"),
        ("\\u03bc", "μ"),
        ("&#8491;", "Å"),
        ("&#197;", "Å"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ] {
        text = text.replace(reference, character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ome(pixels: &str, inner: &str) -> String {
        format!(r#"<?xml?><OME xmlns="x"><Image ID="Image:0"><Pixels ID="P" {pixels}>{inner}</Pixels></Image></OME>"#)
    }

    #[test]
    fn the_scale_of_ome_xml_is_read_in_every_unit() {
        let size = |value: &str, unit: &str| {
            let text = ome(
                &format!("PhysicalSizeX=\"{value}\" {unit} PhysicalSizeY=\"{value}\" {} SizeX=\"9\"", unit.replace('X', "Y")),
                "<Channel/>",
            );
            Ome::parse(&text).unwrap().pixel_size().unwrap()
        };
        assert_eq!(size("0.25", ""), PixelSize::Microns([0.25; 2]));
        let units =
            [("0.0005", "mm"), ("500", "nm"), ("0.5", "&#181;m"), ("0.5", "μm"), ("0.00005", "cm"), ("0.0000005", "m"), ("5000", "Å")];
        for (value, unit) in units {
            let PixelSize::Microns([x, y]) = size(value, &format!("PhysicalSizeXUnit=\"{unit}\"")) else { panic!("{unit}") };
            assert!((x - 0.5).abs() < 1e-9 && x == y, "{unit}: {x}");
        }
        let PixelSize::Unknown(text) = size("1", "PhysicalSizeXUnit=\"pixel\"") else { panic!("a pixel is no length") };
        assert!(text.contains("pixel"), "{text}");
        assert!(Ome::parse("Aperio").is_none() && Ome::parse(&ome("", "")).unwrap().pixel_size().is_none());
    }

    #[test]
    fn channels_have_names_and_planes_in_the_order_of_the_axes() {
        let channels = r#"<Channel ID="C:0" Name="CD45"/><Channel ID="C:1" Name="DAPI &amp; x"><LightPath/></Channel><Channel ID="C:2"/>"#;
        let text = ome(r#"DimensionOrder="XYZCT" SizeC="3" SizeZ="4" SizeT="1""#, channels);
        let read = Ome::parse(&text).unwrap();
        assert_eq!(read.channels(), [Some("CD45".to_owned()), Some("DAPI & x".to_owned()), None]);
        assert_eq!(read.directory_of_channel(2), 8);
        let planes = r#"<TiffData IFD="5" FirstC="0"/><TiffData IFD="3" FirstC="1"/>"#;
        assert_eq!(Ome::parse(&ome("", planes)).unwrap().directory_of_channel(1), 3);
    }

    #[test]
    fn the_scale_of_imagej_is_read_by_its_unit() {
        for unit in ["micron", "µm", "um", "\\u00B5m", "\u{fffd}m"] {
            let text = format!("ImageJ=1.53t\nimages=1\nunit={unit}\nmin=0.0\n");
            assert_eq!(imagej_pixel_size(&text, [2.0, 2.0]), Some(PixelSize::Microns([0.5; 2])), "{unit}");
        }
        assert!(matches!(imagej_pixel_size("ImageJ=1\nunit=pixel\n", [1.0; 2]), Some(PixelSize::Unknown(_))));
        assert!(imagej_pixel_size("unit=micron", [2.0; 2]).is_none());
    }
}
