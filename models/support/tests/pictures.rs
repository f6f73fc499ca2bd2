//! Pictures of unusual formats, made here byte by byte, as 8-bit RGB.

use support::picture::tiff::BoundedFile;
use support::picture::{self, Picture};

/// Fields of a directory with at most 65535 per value, and its tiles or strips.
struct Page {
    fields: Vec<(u16, Vec<u16>)>,
    text: Option<String>,
    parts: Vec<Vec<u8>>,
    is_tiled: bool,
}

impl Page {
    /// Page of one strip.
    fn strip(size: [u16; 2], bits: u16, samples: u16, photometric: u16, bytes: Vec<u8>) -> Self {
        let fields = vec![
            (256, vec![size[0]]),
            (257, vec![size[1]]),
            (258, vec![bits; usize::from(samples)]),
            (259, vec![1]),
            (262, vec![photometric]),
            (277, vec![samples]),
            (278, vec![size[1]]),
        ];
        Self { fields, text: None, parts: vec![bytes], is_tiled: false }
    }

    /// Page of tiles of 16 x 16 px.
    fn tiles(size: [u16; 2], bits: u16, samples: u16, photometric: u16, parts: Vec<Vec<u8>>) -> Self {
        let mut page = Self::strip(size, bits, samples, photometric, Vec::new());
        page.fields.retain(|(tag, _)| *tag != 278);
        page.fields.extend([(322, vec![16]), (323, vec![16])]);
        Self { parts, is_tiled: true, ..page }
    }

    fn with(mut self, tag: u16, values: &[u16]) -> Self {
        self.fields.retain(|(other, _)| *other != tag);
        self.fields.push((tag, values.to_vec()));
        self
    }

    fn described(self, text: &str) -> Self {
        Self { text: Some(text.to_owned()), ..self }
    }
}

/// Writes a little-endian TIFF file; empty parts have offset 0 and no bytes.
fn tiff(pages: &[Page]) -> Vec<u8> {
    let mut file = b"II*\0\0\0\0\0".to_vec();
    let mut link = 4;
    for page in pages {
        let mut entries: Vec<(u16, u16, u32, Vec<u8>)> = Vec::new();
        for (tag, values) in &page.fields {
            entries.push((*tag, 3, values.len() as u32, values.iter().flat_map(|value| value.to_le_bytes()).collect()));
        }
        if let Some(text) = &page.text {
            entries.push((270, 2, text.len() as u32 + 1, [text.as_bytes(), &[0]].concat()));
        }
        let (mut offsets, mut counts) = (Vec::new(), Vec::new());
        for part in &page.parts {
            let at = if part.is_empty() { 0 } else { file.len() as u32 };
            offsets.extend(at.to_le_bytes());
            counts.extend((part.len() as u32).to_le_bytes());
            file.extend(part);
        }
        let count = page.parts.len() as u32;
        let tags = if page.is_tiled { (324, 325) } else { (273, 279) };
        entries.extend([(tags.0, 4, count, offsets), (tags.1, 4, count, counts)]);
        entries.sort_by_key(|entry| entry.0);
        for (.., value) in &mut entries {
            if value.len() > 4 {
                let at = file.len() as u32;
                file.extend(value.iter());
                *value = at.to_le_bytes().to_vec();
            }
            value.resize(4, 0);
        }
        let start = (file.len() as u32).to_le_bytes();
        file[link..link + 4].copy_from_slice(&start);
        file.extend((entries.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in entries {
            file.extend([&tag.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes(), &value].concat());
        }
        link = file.len();
        file.extend([0; 4]);
    }
    file
}

fn read_channel(bytes: Vec<u8>, channel: Option<&str>) -> support::Result<Picture> {
    picture::read(&BoundedFile::of_bytes(bytes), 1 << 30, channel, |_| Ok(()))
}

fn read(page: Page) -> support::Result<Picture> {
    read_channel(tiff(&[page]), None)
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn refused(page: Page, words: &str) {
    let error = read(page).expect_err(words);
    assert!(error.to_string().contains(words) && error.hint_text().is_some(), "{words}: {error:?}");
}

#[test]
fn planes_in_tiles_are_read_when_the_height_is_no_multiple_of_the_tile() {
    let plane = |value: u8| [vec![value; 256], vec![value + 1; 256], vec![value + 2; 256], vec![value + 3; 256]];
    let parts: Vec<Vec<u8>> = [10, 100, 200].into_iter().flat_map(plane).collect();
    let picture = read(Page::tiles([20, 18], 8, 3, 2, parts).with(284, &[2])).unwrap();
    let at = |x: usize, y: usize| &picture.data[3 * (y * 20 + x)..][..3];
    assert_eq!((picture.width, picture.height), (20, 18));
    assert_eq!([at(0, 0), at(19, 0), at(0, 17), at(19, 17)], [[10, 100, 200], [11, 101, 201], [12, 102, 202], [13, 103, 203]]);
}

#[test]
fn floats_are_read_in_two_ranges_and_refused_in_others() {
    let grey = |values: &[f32]| Page::strip([2, 1], 32, 1, 1, floats(values)).with(339, &[3]);
    assert_eq!(read(grey(&[0.0, 1.0])).unwrap().data, [0, 0, 0, 255, 255, 255]);
    assert_eq!(read(grey(&[20.0, 255.0])).unwrap().data, [20, 20, 20, 255, 255, 255]);
    let rgb = Page::strip([1, 1], 32, 3, 2, floats(&[10.0, 20.0, 250.0])).with(339, &[3, 3, 3]);
    let picture = read(rgb).unwrap();
    assert_eq!(picture.data, [10, 20, 250]);
    assert!(picture.notes[0].contains("0 to 255"), "{:?}", picture.notes);
    refused(grey(&[0.0, 4000.0]), "found 0 to 4000");
    refused(grey(&[-1.0, 1.0]), "found -1 to 1");
}

#[test]
fn samples_that_are_not_known_are_refused_with_a_hint() {
    refused(Page::strip([1, 1], 32, 1, 1, vec![0; 4]), "found 32 bits");
    refused(Page::strip([1, 1], 16, 1, 1, vec![0; 2]).with(339, &[2]), "signed integers");
    refused(Page::strip([1, 1], 16, 1, 1, vec![0; 2]).with(339, &[6]), "sample format 6");
    refused(Page::strip([1, 1], 8, 1, 1, vec![0; 2]).with(259, &[8]).with(317, &[7]), "predictor 7");
    refused(Page::strip([1, 1], 8, 3, 6, vec![0; 3]), "YCbCr");
    refused(Page::strip([1, 1], 8, 4, 5, vec![0; 4]), "CMYK");
}

#[test]
fn palettes_alpha_inverted_grey_and_bilevel_pictures_have_their_colours() {
    let mut map = vec![0u16; 768];
    (map[5], map[256 + 5], map[512 + 5]) = (0xff00, 0x8000, 0x1000);
    let palette = Page::strip([2, 1], 8, 1, 3, vec![5, 0]).with(320, &map);
    assert_eq!(read(palette).unwrap().data, [255, 128, 16, 0, 0, 0]);
    let alpha = |kind: u16| Page::strip([2, 1], 8, 4, 2, vec![10, 20, 30, 0, 10, 20, 30, 255]).with(338, &[kind]);
    assert_eq!(read(alpha(2)).unwrap().data, [255, 255, 255, 10, 20, 30]);
    assert_eq!(read(alpha(0)).unwrap().data, [10, 20, 30, 10, 20, 30], "a sample without a meaning is no transparency");
    assert_eq!(read(Page::strip([1, 1], 8, 1, 0, vec![55])).unwrap().data, [200; 3]);
    assert_eq!(read(Page::strip([3, 2], 1, 1, 1, vec![0b1010_0000, 0b0100_0000])).unwrap().data[3..12], [0, 0, 0, 255, 255, 255, 0, 0, 0]);
}

#[test]
fn twelve_bits_in_a_16_bit_file_are_scaled_if_the_file_says_so_and_told_otherwise() {
    let page = || Page::strip([2, 1], 16, 1, 1, [4095u16, 2048].iter().flat_map(|value| value.to_le_bytes()).collect());
    let dark = read(page()).unwrap();
    assert_eq!(dark.data[0], 16);
    assert!(dark.notes[0].contains("12-bit"), "{:?}", dark.notes);
    assert_eq!(read(page().with(281, &[4095])).unwrap().data[0], 255);
    let ome = r#"<OME><Image><Pixels SizeC="1" SignificantBits="12"><Channel/></Pixels></Image></OME>"#;
    assert_eq!(read(page().described(ome)).unwrap().data, [255, 255, 255, 128, 128, 128]);
}

#[test]
fn pictures_are_turned_upright_by_their_orientation() {
    let page = Page::strip([2, 1], 8, 1, 1, vec![1, 2]).with(274, &[6]);
    let picture = read(page).unwrap();
    assert_eq!((picture.width, picture.height, picture.data[0]), (1, 2, 1));
    assert!(picture.notes[0].contains("orientation tag 6"), "{:?}", picture.notes);
    // A JPEG with an EXIF segment of big-endian orientation 3 after its start marker.
    let mut jpeg = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/pictures/baseline.jpg")).unwrap();
    let upright = read_channel(jpeg.clone(), None).unwrap();
    let exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0";
    let segment = [&[0xff, 0xe1][..], &(exif.len() as u16 + 2).to_be_bytes(), exif].concat();
    jpeg.splice(2..2, segment);
    let turned = read_channel(jpeg, None).unwrap();
    let reversed: Vec<u8> = upright.data.as_chunks::<3>().0.iter().rev().flatten().copied().collect();
    assert!(turned.data == reversed, "orientation 3 is half a turn");
}

#[test]
fn the_channel_of_a_nuclear_stain_is_taken_and_others_by_number_or_name() {
    let ome = r#"<OME><Image><Pixels DimensionOrder="XYCZT" SizeC="3"><Channel Name="CD45"/><Channel Name="DAPI"/><Channel Name="CK"/></Pixels></Image></OME>"#;
    let page = |value: u8| Page::strip([2, 2], 8, 1, 1, vec![value; 4]);
    let file = |text: &str| tiff(&[page(10).described(text), page(20), page(30)]);
    let picture = read_channel(file(ome), None).unwrap();
    assert_eq!(picture.data[0], 20);
    assert!(picture.notes[0].contains("channel 2 (DAPI) of 3"), "{:?}", picture.notes);
    assert_eq!(read_channel(file("plain"), None).unwrap().data[0], 10);
    for (channel, expected) in [("3", 30), ("ck", 30), ("cd45", 10), ("1", 10)] {
        assert_eq!(read_channel(file(ome), Some(channel)).unwrap().data[0], expected, "{channel}");
    }
    let error = read_channel(file(ome), Some("CD8")).unwrap_err();
    assert!(error.to_string().contains("2 (DAPI)") && error.hint_text().is_some(), "{error:?}");
    assert!(read_channel(file("plain"), Some("4")).is_err());
    let samples = Page::strip([1, 1], 8, 3, 1, vec![1, 2, 3]).with(338, &[0, 0]);
    assert_eq!(read_channel(tiff(&[samples]), Some("3")).unwrap().data, [3; 3]);
}

#[test]
fn the_largest_image_is_read_and_parts_that_were_left_out_are_background() {
    let slide = Page::tiles([32, 16], 8, 1, 1, vec![vec![200; 256], Vec::new()]);
    let picture = read_channel(tiff(&[Page::strip([4, 2], 8, 1, 1, vec![9; 8]), slide]), None).unwrap();
    assert_eq!((picture.width, picture.data[0], picture.data[3 * 16]), (32, 200, 255));
    assert!(picture.notes.iter().any(|note| note.contains("image 2")), "{:?}", picture.notes);
}
