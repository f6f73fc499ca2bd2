//! A Rust program that finds nuclei: in an image held in memory, and in a region of a slide without writing a file.
//!
//! `cargo run --release --example embed -- MODEL.onnx IMAGE [REGION.geojson]`

use infer::{Device, Error, ErrorKind, Finder, Image, Region, Result, open_slide};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err(Error::new("two arguments are needed").hint("cargo run --release --example embed -- MODEL.onnx IMAGE [REGION.geojson]"));
    };

    // The seal of the file is checked here, its golden tiles by `ready`.
    let finder = match Finder::open(&model) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(error.hint("`export onnx` writes a model")),
        opened => opened?.device(Device::Native).threads(2).ready()?,
    };
    let scale = finder.model().card.microns_per_pixel;

    // An image in memory: all nuclei as a list.
    let picture = image::open(&path)?.to_rgb8();
    let mut image = Image::rgb8(picture.width() as usize, picture.height() as usize, picture.as_raw())?;
    if let Some(scale) = scale {
        image = image.with_mpp(scale)?;
    }
    let nuclei = finder.nuclei(&image)?;
    for nucleus in &nuclei {
        let [x, y] = nucleus.centroid_px;
        println!("{x:.1} {y:.1}: {:.1} {}², probability {:.2}", nucleus.area(), nucleus.unit, nucleus.mean_probability);
    }

    // A slide from a file: a callback for each nucleus, inside a region where one is given.
    let slide = open_slide(&path)?;
    let region = arguments.next().map(Region::from_geojson).transpose()?;
    let mut walk = finder.walk(slide.as_ref());
    if let Some(region) = &region {
        walk = walk.inside(region);
    }
    if let (None, Some(scale)) = (slide.microns_per_pixel(), scale) {
        walk = walk.mpp(scale);
    }
    let mut area = 0.0;
    let visit = walk.each(|nucleus| {
        area += nucleus.area();
        Ok(())
    })?;
    println!("{} nuclei in the image, {} on the slide with an area of {area:.0}", nuclei.len(), visit.nuclei);
    Ok(())
}
