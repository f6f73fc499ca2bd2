//! Image of a TIFF file that is read: the largest, and its channel.

use super::description::{self, Ome};
use super::directory::Directory;
use super::file::BoundedFile;
use super::layout::size;
use super::tag;
use crate::{Result, bail};

/// Parts of the names of stains of nuclei, in lower case, by which a channel is chosen.
const NUCLEAR_STAINS: [&str; 4] = ["dapi", "hoechst", "draq5", "hematoxylin"];

/// Choice of an image and channel of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Index of the directory of the slide's first channel, whose tags hold for all channels.
    pub base: usize,
    /// Index of the directory that is read.
    pub directory: usize,
    /// Index of the sample that is read as grey; `None` reads the colours of the pixels.
    pub sample: Option<usize>,
    /// Largest sample value by the metadata, if it is below 65535.
    pub white: Option<u16>,
    /// Notes for the user about images and channels that are not read.
    pub notes: Vec<String>,
}

/// Channel of an image.
struct Channel {
    name: Option<String>,
    directory: usize,
    sample: Option<usize>,
}

impl Selection {
    /// Chooses the largest image, of tiled images if there are any, and its channel: `channel` is a number from 1 or a name. By default,
    /// the channel whose name is that of a nuclear stain, else the first.
    ///
    /// # Errors
    /// A channel that the file does not have.
    pub fn of(directories: &[Directory], file: &BoundedFile, channel: Option<&str>) -> Result<Self> {
        let base = largest(directories, file)?;
        let mut notes = Vec::new();
        if base > 0 {
            let (first, [width, height]) = (area(&directories[0], file), sides(&directories[base], file));
            if first > 0 {
                notes.push(format!("image {} of the file was read, because it is the largest ({width} x {height} px)", base + 1));
            }
        }
        let text = directories[0].text(tag::IMAGE_DESCRIPTION, file)?.unwrap_or_default();
        let ome = Ome::parse(&text);
        let channels = channels(directories, file, base, &text, ome.as_ref())?;
        let index = choose(&channels, channel)?;
        let Channel { directory, sample, .. } = channels[index];
        if channels.len() > 1 {
            notes.push(note(&channels, index, channel.is_some()));
        }
        let bits = ome.and_then(|ome| ome.significant_bits()).filter(|bits| (9..16).contains(bits));
        Ok(Self { base, directory, sample, white: bits.map(|bits| (1u16 << bits) - 1), notes })
    }
}

fn sides(directory: &Directory, file: &BoundedFile) -> [u64; 2] {
    size(directory, file).map_or([0; 2], |(width, height)| [width, height])
}

fn area(directory: &Directory, file: &BoundedFile) -> u64 {
    sides(directory, file).iter().product()
}

/// Returns the index of the largest image, the first of equals; a tiled image goes before one in strips unless it is much smaller.
fn largest(directories: &[Directory], file: &BoundedFile) -> Result<usize> {
    size(&directories[0], file)?;
    let rank = |directory: &Directory| {
        let tiled = if directory.has(tag::TILE_OFFSETS) { 4 } else { 1 };
        area(directory, file).saturating_mul(tiled)
    };
    let ranks = directories.iter().map(rank).enumerate();
    Ok(ranks.reduce(|best, next| if next.1 > best.1 { next } else { best }).map_or(0, |(index, _)| index))
}

/// Lists the channels: pages of the size of the base image, or the samples of its pixels; one channel for a colour image.
fn channels(directories: &[Directory], file: &BoundedFile, base: usize, text: &str, ome: Option<&Ome<'_>>) -> Result<Vec<Channel>> {
    let names = ome.map(Ome::channels).unwrap_or_default();
    let name = |channel: usize| names.get(channel).cloned().flatten();
    let own = &directories[base];
    let photometric = own.number(tag::PHOTOMETRIC, 1, file)?;
    let samples = own.number(tag::SAMPLES_PER_PIXEL, 1, file)?.min(64) as usize;
    let has_alpha = own.values(tag::EXTRA_SAMPLES, 64, file)?.is_some_and(|kinds| matches!(kinds.first(), Some(1 | 2)));
    if photometric <= 1 && samples > 1 && !has_alpha {
        return Ok((0..samples).map(|sample| Channel { name: name(sample), directory: base, sample: Some(sample) }).collect());
    }
    let same = |directory: &Directory| {
        sides(directory, file) == sides(own, file) && directory.number(tag::PHOTOMETRIC, 1, file).is_ok_and(|other| other == photometric)
    };
    let pages: Vec<usize> = (base..directories.len()).filter(|&i| same(&directories[i])).collect();
    let count = match (ome, description::imagej(text, "channels").and_then(|count| count.parse().ok())) {
        (Some(_), _) if !names.is_empty() => names.len().min(pages.len()),
        (None, Some(count)) => pages.len().min(count),
        (None, None) if text.starts_with("ImageJ=") => 1,
        _ => pages.len(),
    };
    let page = |channel: usize| match ome {
        Some(ome) if count > 1 => Some(ome.directory_of_channel(channel)).filter(|page| pages.contains(page)).unwrap_or(pages[channel]),
        _ => pages[channel],
    };
    Ok((0..count.max(1)).map(|channel| Channel { name: name(channel), directory: page(channel), sample: None }).collect())
}

/// Returns the index of the channel that the user names, or of the default.
fn choose(channels: &[Channel], wanted: Option<&str>) -> Result<usize> {
    let named = |test: &dyn Fn(&str) -> bool| {
        channels.iter().position(|channel| channel.name.as_deref().is_some_and(|name| test(&name.to_lowercase())))
    };
    let Some(wanted) = wanted else {
        return Ok(NUCLEAR_STAINS.iter().find_map(|stain| named(&|name| name.contains(stain))).unwrap_or(0));
    };
    let lower = wanted.trim().to_lowercase();
    let by_number = lower.parse::<usize>().ok().and_then(|number| number.checked_sub(1)).filter(|index| *index < channels.len());
    match named(&|name| name == lower).or(by_number).or_else(|| named(&|name| !lower.is_empty() && name.contains(&lower))) {
        Some(index) => Ok(index),
        None => {
            bail!("no channel {wanted:?}, expected one of {}", listed(channels); hint: "give the number of the channel, from 1, or its name")
        }
    }
}

fn listed(channels: &[Channel]) -> String {
    let shown = |(i, channel): (usize, &Channel)| match &channel.name {
        Some(name) => format!("{} ({name})", i + 1),
        None => (i + 1).to_string(),
    };
    channels.iter().enumerate().map(shown).collect::<Vec<_>>().join(", ")
}

fn note(channels: &[Channel], index: usize, is_given: bool) -> String {
    let name = channels[index].name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
    let others = if is_given { String::new() } else { format!("; the channels are {}", listed(channels)) };
    format!("channel {}{name} of {} was read{others}", index + 1, channels.len())
}
