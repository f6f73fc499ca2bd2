//! OpenSlide in a process of its own: requests on stdin, pixels on stdout.
//!
//! The first answer is what is known of the slide, as JSON. Then every request (level, x, y, width, height: five i64, little-endian)
//! is answered by premultiplied ARGB. An answer is a byte, 1 where it is an error told in words, and a length before its bytes. After
//! an error the process ends, for OpenSlide's errors stay.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use support::{Error, Result};

use super::ffi::Handle;
use super::load;
use crate::Level;

/// What is known of a slide.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) levels: Vec<Level>,
    pub(super) properties: BTreeMap<String, String>,
}

/// An error on its way to another process.
#[derive(Serialize, Deserialize)]
struct Told {
    message: String,
    hint: Option<String>,
}

/// Bytes of a request.
pub(super) type Request = [i64; 5];

/// The largest answer: a block of 4096 x 4096 px.
const LIMIT: u64 = 4 << 24;

/// Answers until the input ends.
pub fn serve(path: &Path, library: Option<&Path>, input: &mut impl Read, output: &mut impl Write) -> Result<()> {
    let handle = match open(path, library) {
        Ok((handle, known)) => {
            answer(output, 0, &serde_json::to_vec(&known)?)?;
            handle
        }
        Err(error) => return refuse(output, &error),
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
            Err(error) => return refuse(output, &error),
        }
    }
}

fn open(path: &Path, library: Option<&Path>) -> Result<(Handle, Known)> {
    let handle = Handle::open(&load(library)?, path)?;
    let known = Known { levels: handle.levels()?, properties: handle.properties()? };
    Ok((handle, known))
}

fn refuse(output: &mut impl Write, error: &Error) -> Result<()> {
    let told = Told { message: error.to_string(), hint: error.hint_text().map(str::to_owned) };
    answer(output, 1, &serde_json::to_vec(&told)?)
}

fn answer(output: &mut impl Write, failed: u8, bytes: &[u8]) -> Result<()> {
    output.write_all(&[failed])?;
    output.write_all(&(bytes.len() as u64).to_le_bytes())?;
    output.write_all(bytes)?;
    Ok(output.flush()?)
}

/// The other end: takes an answer.
pub(super) fn take(input: &mut impl Read) -> Result<Vec<u8>> {
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
    let Told { message, hint } = serde_json::from_slice(&bytes)?;
    let error = Error::new(message);
    Err(match hint {
        Some(hint) => error.hint(hint),
        None => error,
    })
}
