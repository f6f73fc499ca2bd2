//! Parser of `ImageJ`'s `.roi` format: a big-endian header of 64 bytes, coordinates, and a second header with name and group.

mod bytes;

use support::{Result, bail};

use self::bytes::{
    BOUNDS, Bytes, COMPOSITE_SIZE, COORDINATES, COUNT, FLOAT_STROKE_WIDTH, GROUP, LINE, NAME_AT, NAME_LENGTH, OPTIONS, SECOND_HEADER,
    STROKE_WIDTH, SUBTYPE, TYPE, VERSION,
};
use super::raster::Point;

/// `ImageJ` selection (region of interest).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Selection {
    /// Name; empty if absent.
    pub name: String,
    /// Group, 1 to 255; 0 if absent.
    pub group: u8,
    /// Stroke width in pixels; `None` if absent.
    pub width_px: Option<f64>,
    /// Geometry in pixels; the centre of pixel (0, 0) is at (.5, .5).
    pub shape: Shape,
}

/// Geometry of a selection.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// Polyline.
    Line(Vec<Point>),
    /// Isolated points.
    Points(Vec<Point>),
    /// Interior of a closed ring.
    Area(Vec<Point>),
}

/// Option bit of selections with floating-point coordinates.
const SUB_PIXEL: u16 = 128;
/// Limit of the number of points in a selection.
const MAX_POINTS: usize = 1 << 20;

/// Parses a selection of one of the types line, freehand line, segmented line, polygon, freehand or traced area, rectangle, oval and
/// points.
///
/// # Errors
/// Bytes in another format, an unsupported type, or a truncated file.
pub(super) fn parse(bytes: &[u8]) -> Result<Selection> {
    let bytes = Bytes(bytes);
    if bytes.at::<4>(0)? != *b"Iout" {
        bail!("not an ImageJ selection: expected \"Iout\" at its start");
    }
    let (kind, subtype) = (bytes.u8(TYPE)?, bytes.u16(SUBTYPE)?);
    if bytes.i32(COMPOSITE_SIZE)? > 0 {
        return unsupported("a composite selection");
    }
    if subtype != 0 {
        let names = ["text", "an arrow", "an ellipse", "an image", "a rotated rectangle"];
        return unsupported(names.get(usize::from(subtype) - 1).unwrap_or(&"a selection of unknown subtype"));
    }
    let shape = match kind {
        0 | 7 | 8 => Shape::Area(points(&bytes, 0.0)?),
        1 => Shape::Area(rectangle(&bytes)?),
        2 => Shape::Area(oval(&rectangle(&bytes)?)),
        3 => Shape::Line(straight(&bytes)?),
        4 | 5 => Shape::Line(points(&bytes, 0.5)?),
        10 => Shape::Points(points(&bytes, 0.5)?),
        9 => return unsupported("an angle"),
        other => return unsupported(&format!("a selection of type {other}")),
    };
    let (name, group, float_width) = second_header(&bytes)?;
    let width = if float_width > 0.0 { float_width } else { f64::from(bytes.u16(STROKE_WIDTH)?) };
    Ok(Selection { name, group, width_px: (width > 0.0).then_some(width), shape })
}

/// Returns the error for an unsupported type of selection.
fn unsupported<T>(kind: &str) -> Result<T> {
    bail!("{kind} is not supported as a scribble"; hint: "draw with line, freehand line, segmented line, polygon, freehand, rectangle, oval or point selections")
}

/// Reads the coordinates of a selection.
///
/// Integer coordinates denote pixels; `to_centre` (.5 for lines and points) moves them from the corner of a pixel to its centre.
/// Floating-point coordinates denote positions and stay.
fn points(bytes: &Bytes, to_centre: f64) -> Result<Vec<Point>> {
    let short = usize::from(bytes.u16(COUNT)?);
    let count = if short > 0 { short } else { usize::try_from(bytes.i32(LINE)?).unwrap_or(0) };
    if count == 0 || count > MAX_POINTS {
        bail!("expected 1 to {MAX_POINTS} points, found {count}");
    }
    let sub_pixel = bytes.u16(VERSION)? >= 222 && bytes.u16(OPTIONS)? & SUB_PIXEL != 0;
    let (top, left) = (bytes.coordinate(BOUNDS)?, bytes.coordinate(BOUNDS + 2)?);
    let xs = COORDINATES + if sub_pixel { 4 * count } else { 0 };
    let point = |i: usize| -> Result<Point> {
        if sub_pixel {
            Ok([bytes.f32(xs + 4 * i)?, bytes.f32(xs + 4 * (count + i))?])
        } else {
            Ok([left + bytes.coordinate(xs + 2 * i)? + to_centre, top + bytes.coordinate(xs + 2 * (count + i))? + to_centre])
        }
    };
    (0..count).map(point).collect()
}

/// Reads the corners of the bounding rectangle, clockwise from the upper left.
fn rectangle(bytes: &Bytes) -> Result<Vec<Point>> {
    let sub_pixel = bytes.u16(VERSION)? >= 223 && bytes.u16(OPTIONS)? & SUB_PIXEL != 0;
    let [left, top, right, bottom] = if sub_pixel {
        let (x, y) = (bytes.f32(LINE)?, bytes.f32(LINE + 4)?);
        [x, y, x + bytes.f32(LINE + 8)?, y + bytes.f32(LINE + 12)?]
    } else {
        let side = |i: usize| bytes.coordinate(BOUNDS + 2 * i);
        [side(1)?, side(0)?, side(3)?, side(2)?]
    };
    Ok(vec![[left, top], [right, top], [right, bottom], [left, bottom]])
}

/// Approximates the ellipse inscribed in a rectangle by a ring of 90 points, with an error below .1 % of its axes.
fn oval(corners: &[Point]) -> Vec<Point> {
    let ([left, top], [right, bottom]) = (corners[0], corners[2]);
    let point = |i: usize| {
        let (sin, cos) = (i as f64 * std::f64::consts::TAU / 90.0).sin_cos();
        [0.5 * (left + right + (right - left) * cos), 0.5 * (top + bottom + (bottom - top) * sin)]
    };
    (0..90).map(point).collect()
}

/// Reads the ends of a straight line, which denote pixels if all coordinates are integers, else positions.
fn straight(bytes: &Bytes) -> Result<Vec<Point>> {
    let ends: Vec<f64> = (0..4).map(|i| bytes.f32(LINE + 4 * i)).collect::<Result<_>>()?;
    let to_centre = if ends.iter().all(|v| v.fract() == 0.0) { 0.5 } else { 0.0 };
    Ok(ends.as_chunks::<2>().0.iter().map(|[x, y]| [x + to_centre, y + to_centre]).collect())
}

/// Reads name, group and stroke width from the second header; returns empty values if the file has none.
fn second_header(bytes: &Bytes) -> Result<(String, u8, f64)> {
    let Some(start) = usize::try_from(bytes.i32(SECOND_HEADER)?).ok().filter(|&start| start >= COORDINATES) else {
        return Ok((String::new(), 0, 0.0));
    };
    let field = |offset: usize| bytes.i32(start + offset).map(|v| usize::try_from(v).unwrap_or(0));
    let (at, length) = (field(NAME_AT)?, field(NAME_LENGTH)?);
    let length = if at > 0 { length.min(1024) } else { 0 };
    let name: Vec<u16> = (0..length).map(|i| bytes.u16(at + 2 * i)).collect::<Result<_>>()?;
    // Files of old versions end before group and stroke width.
    Ok((String::from_utf16_lossy(&name), bytes.u8(start + GROUP).unwrap_or(0), bytes.f32(start + FLOAT_STROKE_WIDTH).unwrap_or(0.0)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Encodes a selection as `ImageJ` does, with integer coordinates; `corner` is the upper left corner (x, y) of its bounds.
    pub(in crate::scribble) fn written(kind: u8, corner: [i16; 2], points: &[[i16; 2]], name: &str, group: u8, width: u16) -> Vec<u8> {
        let mut bytes = vec![0; COORDINATES];
        bytes[..4].copy_from_slice(b"Iout");
        let mut put = |place: usize, value: i32, n: usize| bytes[place..place + n].copy_from_slice(&value.to_be_bytes()[4 - n..]);
        put(VERSION, 228, 2);
        put(TYPE, i32::from(kind), 1);
        put(BOUNDS, i32::from(corner[1]), 2);
        put(BOUNDS + 2, i32::from(corner[0]), 2);
        put(COUNT, points.len() as i32, 2);
        put(STROKE_WIDTH, i32::from(width), 2);
        let second = COORDINATES + 4 * points.len();
        put(SECOND_HEADER, second as i32, 4);
        for axis in 0..2 {
            bytes.extend(points.iter().flat_map(|p| (p[axis] - corner[axis]).to_be_bytes()));
        }
        let mut header = vec![0; 64];
        header[NAME_AT..NAME_AT + 4].copy_from_slice(&(second as i32 + 64).to_be_bytes());
        header[NAME_LENGTH..NAME_LENGTH + 4].copy_from_slice(&(name.encode_utf16().count() as i32).to_be_bytes());
        header[GROUP] = group;
        bytes.extend(header);
        bytes.extend(name.encode_utf16().flat_map(u16::to_be_bytes));
        bytes
    }

    #[test]
    fn every_supported_type_is_read() {
        let ring = [[3, 2], [6, 2], [6, 5]];
        let corners = |shift: f64| ring.map(|p| p.map(|v| f64::from(v) + shift)).to_vec();
        for (kind, expected) in [
            (0, Shape::Area(corners(0.0))),
            (7, Shape::Area(corners(0.0))),
            (8, Shape::Area(corners(0.0))),
            (4, Shape::Line(corners(0.5))),
            (5, Shape::Line(corners(0.5))),
            (10, Shape::Points(corners(0.5))),
        ] {
            let found = parse(&written(kind, [3, 2], &ring, "nucleus-1", 7, 4)).unwrap();
            assert_eq!(found, Selection { name: "nucleus-1".into(), group: 7, width_px: Some(4.0), shape: expected });
        }
        let mut line = written(3, [0, 0], &[], "", 0, 0);
        for (i, v) in [1.0f32, 2.0, 5.0, 9.0].into_iter().enumerate() {
            line[LINE + 4 * i..LINE + 4 * i + 4].copy_from_slice(&v.to_be_bytes());
        }
        let found = parse(&line).unwrap();
        assert_eq!((found.shape, found.width_px), (Shape::Line(vec![[1.5, 2.5], [5.5, 9.5]]), None));
        let mut rectangle = written(1, [4, 3], &[], "", 0, 0);
        rectangle[BOUNDS + 4..BOUNDS + 8].copy_from_slice(&[0, 9, 0, 8]);
        assert_eq!(parse(&rectangle).unwrap().shape, Shape::Area(vec![[4.0, 3.0], [8.0, 3.0], [8.0, 9.0], [4.0, 9.0]]));
        rectangle[TYPE] = 2;
        let Shape::Area(ring) = parse(&rectangle).unwrap().shape else { panic!("an oval is an area") };
        assert!(ring.iter().all(|[x, y]| (((x - 6.0) / 2.0).powi(2) + ((y - 6.0) / 3.0).powi(2) - 1.0).abs() < 1e-9));
    }

    #[test]
    fn floating_point_coordinates_stay() {
        let mut bytes = written(5, [0, 0], &[[1, 1], [2, 2]], "", 0, 0);
        bytes[OPTIONS..OPTIONS + 2].copy_from_slice(&SUB_PIXEL.to_be_bytes());
        let floats = [1.25f32, 2.5, 7.75, 8.0].into_iter().flat_map(f32::to_be_bytes);
        bytes.splice(COORDINATES + 8.., floats);
        bytes[SECOND_HEADER..SECOND_HEADER + 4].fill(0);
        assert_eq!(parse(&bytes).unwrap().shape, Shape::Line(vec![[1.25, 7.75], [2.5, 8.0]]));
    }

    #[test]
    fn unsupported_and_damaged_selections_are_errors() {
        let good = written(0, [0, 0], &[[0, 0], [4, 0], [4, 4]], "nucleus", 0, 0);
        let message = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            format!("{:?}", parse(&bytes).unwrap_err())
        };
        assert!(message(&|b| b[TYPE] = 9).contains("an angle is not supported"));
        assert!(message(&|b| b[TYPE] = 77).contains("type 77"));
        assert!(message(&|b| b[SUBTYPE + 1] = 1).contains("text is not supported"));
        assert!(message(&|b| b[COMPOSITE_SIZE + 3] = 8).contains("composite"));
        assert!(message(&|b| b[0] = b'x').contains("not an ImageJ selection"));
        for end in 0..good.len() - 14 {
            parse(&good[..end]).expect_err("a cut selection");
        }
        let mut rng = crate::rng::CounterRng::new(1, "roi", 0, 0, 0);
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..3 {
                let at = rng.below(bytes.len());
                bytes[at] = rng.bits() as u8;
            }
            let _ = parse(&bytes); // either result is fine, a panic is not
        }
    }
}
