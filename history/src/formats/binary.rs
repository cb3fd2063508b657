//! The compact form of our own histories: frames of records, each with its length and checksums, so that a file can be
//! appended to, cut by a crash, and read without being held in memory.
//!
//! ```text
//! file   magic (8 bytes) version (u32), then frames; the first frame is the header, in JSON
//! frame  length of the payload (u32) │ CRC-32 of these four bytes (u32) │ CRC-32 of the payload (u32) │ payload
//! payload of a frame of records: one record after the other
//! record tag, then numbers as varints (7 bits a byte, low first) and texts (length, bytes)
//!        0 invoke  op± time± client key call
//!        1 ok      op± time± node answer claims      2 failed / 3 unknown  op± time± node reason
//!        4 fault   time± process what value
//! ```
//!
//! All fixed numbers are little-endian. `op±` and `time±` are differences to the record before, zigzag, from 0 at the head of
//! each frame. Keys and nodes are numbers of texts that the frame has named before, plus one; 0 names a new one. So each frame
//! can be read alone.
//!
//! A frame that is cut, or zeros, at the end of the file is what a crash leaves: a warning, and the rest is read. Any
//! other damage is an error that names the byte.

use std::io::{self, BufReader, Read};
use std::sync::Arc;

use super::pack::Unpacker;
use super::record::Record;
use super::source::Source;
use super::trouble::{Place, Trouble};
use crate::file::Header;

/// The first bytes: not text, and not survived by anything that changes line ends.
pub const MAGIC: [u8; 8] = *b"\x89OHB\r\n\x1a\n";

/// The version that is written. Version 1, which has no transactions, is read as well.
pub const BINARY_VERSION: u32 = 2;

/// Length of magic and version.
pub(crate) const HEAD_BYTES: usize = 12;

/// Length and two checksums.
pub(crate) const FRAME_HEAD_BYTES: usize = 12;

/// The longest payload: that of a full frame and one value of any length that our lines may have.
pub(crate) const PAYLOAD_BYTES_MAX: usize = crate::file::LINE_BYTES_MAX + (1 << 20);

const HINT: &str = "restore the file; what stands before this byte can be read if you cut it there";

/// What the next bytes hold.
pub(crate) enum Frame {
    /// A payload.
    Whole(Vec<u8>),
    /// Nothing: the file ends here.
    End,
    /// What a crash leaves at the end: so many bytes.
    Torn(u64),
}

/// Reads frames.
pub(crate) struct Frames<R> {
    inner: BufReader<R>,
    /// Where the next frame begins.
    pub(crate) offset: u64,
}

impl<R: Read> Frames<R> {
    /// Reads magic and version.
    pub(crate) fn new(inner: R) -> Result<Self, Trouble> {
        let mut inner = BufReader::new(inner);
        let mut head = [0; HEAD_BYTES];
        let length = read_up_to(&mut inner, &mut head)?;
        if length < head.len() || head[..8] != MAGIC {
            return Err(Trouble::at(Place::Byte(0), "no binary history: its first bytes are others", HINT));
        }
        let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        if !(1..=BINARY_VERSION).contains(&version) {
            let detail = format!("binary history format {version}, this build reads 1 to {BINARY_VERSION}");
            return Err(Trouble::at(Place::Byte(8), detail, "use the ordeal that wrote it"));
        }
        Ok(Frames { inner, offset: HEAD_BYTES as u64 })
    }

    pub(crate) fn next(&mut self) -> Result<Frame, Trouble> {
        let start = self.offset;
        let mut head = [0; FRAME_HEAD_BYTES];
        let length = read_up_to(&mut self.inner, &mut head)?;
        if length == 0 {
            return Ok(Frame::End);
        }
        if length < head.len() {
            return Ok(Frame::Torn(length as u64));
        }
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let wrong = |detail: &str| Err(Trouble::at(Place::Byte(start), detail, HINT));
        if word(4) != crc32fast::hash(&head[..4]) {
            // The room was made, but the bytes never came.
            return match self.zeros_to_the_end()? {
                Some(more) if head == [0; FRAME_HEAD_BYTES] => Ok(Frame::Torn(length as u64 + more)),
                Some(_) | None => wrong("the length of a frame is damaged"),
            };
        }
        let payload_length = word(0) as usize;
        if payload_length > PAYLOAD_BYTES_MAX {
            return wrong("a frame that is longer than any that is written");
        }
        let mut payload = Vec::new();
        let wanted = payload_length as u64;
        self.inner.by_ref().take(wanted).read_to_end(&mut payload).map_err(Trouble::Io)?;
        if payload.len() < payload_length {
            return Ok(Frame::Torn((FRAME_HEAD_BYTES + payload.len()) as u64));
        }
        if crc32fast::hash(&payload) != word(8) {
            // Pages of the last frame that never came read as zeros; anything behind it was written after it was whole.
            return match self.zeros_to_the_end()? {
                Some(more) if payload.last() == Some(&0) || payload.is_empty() => {
                    Ok(Frame::Torn((FRAME_HEAD_BYTES + payload.len()) as u64 + more))
                }
                Some(_) | None => wrong("a frame is damaged: its checksum is wrong"),
            };
        }
        self.offset += (FRAME_HEAD_BYTES + payload.len()) as u64;
        Ok(Frame::Whole(payload))
    }

    /// Whether nothing but zeros follows, and how many.
    fn zeros_to_the_end(&mut self) -> Result<Option<u64>, Trouble> {
        let mut page = [0; 4096];
        let mut count = 0;
        loop {
            let length = read_up_to(&mut self.inner, &mut page)?;
            if page[..length].iter().any(|&byte| byte != 0) {
                return Ok(None);
            }
            count += length as u64;
            if length < page.len() {
                return Ok(Some(count));
            }
        }
    }
}

fn read_up_to(inner: &mut impl Read, bytes: &mut [u8]) -> Result<usize, Trouble> {
    let mut length = 0;
    while length < bytes.len() {
        match inner.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Trouble::Io(error)),
        }
    }
    Ok(length)
}

/// Reads records.
pub(crate) struct Binary<R> {
    frames: Frames<R>,
    header: Header,
    payload: Vec<u8>,
    at: usize,
    frame_start: u64,
    unpacker: Unpacker,
    record_at: u64,
    warnings: Vec<String>,
    is_torn: bool,
}

impl<R: Read> Binary<R> {
    pub(crate) fn new(inner: R) -> Result<Self, Trouble> {
        let mut frames = Frames::new(inner)?;
        let header = match frames.next()? {
            Frame::Whole(payload) => header_of(&payload)?,
            Frame::End | Frame::Torn(_) => {
                let detail = "the file ends before its header is whole";
                return Err(Trouble::at(Place::Byte(HEAD_BYTES as u64), detail, "record the history again"));
            }
        };
        Ok(Binary {
            frame_start: frames.offset,
            record_at: frames.offset,
            frames,
            header,
            payload: Vec::new(),
            at: 0,
            unpacker: Unpacker::default(),
            warnings: Vec::new(),
            is_torn: false,
        })
    }
}

fn header_of(payload: &[u8]) -> Result<Header, Trouble> {
    serde_json::from_slice(payload).map_err(|error| {
        Trouble::at(Place::Byte(HEAD_BYTES as u64), format!("the header of the history: {error}"), HINT)
    })
}

impl<R: Read> Source for Binary<R> {
    fn next(&mut self) -> Result<Option<Record>, Trouble> {
        while self.at == self.payload.len() {
            if self.is_torn {
                return Ok(None);
            }
            self.frame_start = self.frames.offset;
            match self.frames.next()? {
                Frame::End => return Ok(None),
                Frame::Torn(bytes) => {
                    self.is_torn = true;
                    self.warnings.push(format!(
                        "byte {}: the last records are torn ({bytes} bytes), the history before them is read",
                        self.frame_start
                    ));
                }
                Frame::Whole(payload) => {
                    (self.payload, self.at) = (payload, 0);
                    self.unpacker.begin_frame();
                }
            }
        }
        self.record_at = self.frame_start + (FRAME_HEAD_BYTES + self.at) as u64;
        let mut rest = &self.payload[self.at..];
        let record = self.unpacker.record(&mut rest).map_err(|detail| {
            let at = self.frame_start + (FRAME_HEAD_BYTES + self.payload.len() - rest.len()) as u64;
            Trouble::at(Place::Byte(at), detail, HINT)
        })?;
        self.at = self.payload.len() - rest.len();
        Ok(Some(record))
    }

    fn place(&self) -> Place {
        Place::Byte(self.record_at)
    }

    fn header(&self) -> Header {
        self.header.clone()
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
}

/// A text that a frame names often.
pub(crate) type Named = Arc<str>;
