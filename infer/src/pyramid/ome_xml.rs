//! OME-XML description of a label pyramid, which OME-TIFF stores in the tag `ImageDescription` of the first directory.

/// Returns the OME-XML description of one plane of u32 with pixel sides in µm (schema 2016-06).
pub fn description(width: usize, height: usize, um_per_pixel: Option<[f64; 2]>) -> String {
    let sides = um_per_pixel.map_or_else(String::new, |[x, y]| format!(" PhysicalSizeX=\"{x}\" PhysicalSizeY=\"{y}\""));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:schemaLocation=\"http://www.openmicroscopy.org/Schemas/OME/2016-06 \
         http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd\"><Image ID=\"Image:0\" Name=\"nuclei\"><Pixels ID=\"Pixels:0\" \
         DimensionOrder=\"XYCZT\" Type=\"uint32\" BigEndian=\"false\" SizeX=\"{width}\" SizeY=\"{height}\" SizeC=\"1\" SizeZ=\"1\" SizeT=\"1\"{sides}>\
         <Channel ID=\"Channel:0:0\" SamplesPerPixel=\"1\"/><TiffData IFD=\"0\" PlaneCount=\"1\"/></Pixels></Image></OME>"
    )
}
