//! Server process that reads a slide by OpenSlide: requests on stdin, pixels on stdout.
//!
//! The first answer is the description of the slide, as JSON. Every request (level, x, y, width, height: five i64, little-endian) is then
//! answered by premultiplied ARGB. An answer consists of one byte (0: success, 1: error as JSON), the length of the payload as u64, and the
//! payload. The process ends after an error, because errors of OpenSlide persist.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use support::{Error, Result};

use super::ffi::Handle;
use super::load;
use crate::Level;

/// Description of a slide.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SlideInfo {
    pub(super) levels: Vec<Level>,
    pub(super) properties: BTreeMap<String, String>,
}

/// Error as it is sent to the other process.
#[derive(Serialize, Deserialize)]
struct SentError {
    message: String,
    hint: Option<String>,
}

/// Request: level, x and y in level-0 pixels, width and height in pixels of the level.
pub(super) type Request = [i64; 5];

/// Maximum payload of an answer in bytes: a block of 4096 x 4096 px.
const LIMIT: u64 = 4 << 24;

/// Answers requests until the input ends or an error has been sent.
pub fn serve(path: &Path, library: Option<&Path>, input: &mut impl Read, output: &mut impl Write) -> Result<()> {
    let handle = match open(path, library) {
        Ok((handle, info)) => {
            answer(output, 0, &serde_json::to_vec(&info)?)?;
            handle
        }
        Err(error) => return answer_error(output, &error),
    };
    let mut request = [0; 40];
    loop {
        match input.read_exact(&mut request) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            done => done?,
        }
        let [level, x, y, width, height] =
            std::array::from_fn(|i| i64::from_le_bytes(request[i * 8..i * 8 + 8].try_into().expect("8 bytes")));
        match handle.read_region(level as usize, x, y, width as u64, height as u64) {
            Ok(argb) => answer(output, 0, &argb.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<_>>())?,
            Err(error) => return answer_error(output, &error),
        }
    }
}

fn open(path: &Path, library: Option<&Path>) -> Result<(Handle, SlideInfo)> {
    let handle = Handle::open(&load(library)?, path)?;
    let info = SlideInfo { levels: handle.levels()?, properties: handle.properties()? };
    Ok((handle, info))
}

/// Sends an error.
fn answer_error(output: &mut impl Write, error: &Error) -> Result<()> {
    let sent = SentError { message: error.to_string(), hint: error.hint_text().map(str::to_owned) };
    answer(output, 1, &serde_json::to_vec(&sent)?)
}

/// Sends an answer; `failed` is 1 for an error.
fn answer(output: &mut impl Write, failed: u8, bytes: &[u8]) -> Result<()> {
    output.write_all(&[failed])?;
    output.write_all(&(bytes.len() as u64).to_le_bytes())?;
    output.write_all(bytes)?;
    Ok(output.flush()?)
}

/// Receives an answer in the other process.
pub(super) fn receive(input: &mut impl Read) -> Result<Vec<u8>> {
    let mut head = [0; 9];
    input.read_exact(&mut head)?;
    let length = u64::from_le_bytes(head[1..].try_into().expect("8 bytes"));
    let mut bytes = Vec::new();
    input.take(length.min(LIMIT)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length {
        return Err(Error::new("the answer ended early"));
    }
    if head[0] == 0 {
        return Ok(bytes);
    }
    let SentError { message, hint } = serde_json::from_slice(&bytes)?;
    let error = Error::new(message);
    Err(match hint {
        Some(hint) => error.hint(hint),
        None => error,
    })
}
