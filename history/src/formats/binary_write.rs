//! Writes the compact form, see [`super::binary`]: a frame at a time, so that whoever is killed leaves whole frames.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::binary::{BINARY_VERSION, Frame, Frames, HEAD_BYTES, MAGIC, PAYLOAD_BYTES_MAX};
use super::pack::Packer;
use super::record::Record;
use super::trouble::{FormatError, Trouble, io_error};
use crate::file::Header;

/// A frame is written when it is this long: a crash costs at most so much, and its head is a thousandth of it.
const FRAME_BYTES: usize = 16 << 10;

/// Appends records to a file. After the first error nothing more is written, so that only the end can be torn.
#[derive(Debug)]
pub struct BinaryWriter {
    path: PathBuf,
    file: File,
    packer: Packer,
    has_failed: bool,
}

impl BinaryWriter {
    /// Creates the file, which must not exist yet.
    ///
    /// # Errors
    /// [`FormatError::Io`].
    pub fn create(path: &Path, header: &Header) -> Result<Self, FormatError> {
        let open = OpenOptions::new().write(true).create_new(true).open(path);
        let file = open.map_err(|error| io_error(path, error))?;
        let mut writer = BinaryWriter::on(path, file);
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&BINARY_VERSION.to_le_bytes());
        let json = serde_json::to_vec(header).map_err(io::Error::from);
        let json = json.map_err(|error| io_error(path, error))?;
        head.extend_from_slice(&frame(&json));
        writer.write(&head)?;
        Ok(writer)
    }

    /// Opens a file to go on where it ends; what a crash has torn is cut off.
    ///
    /// # Errors
    /// [`FormatError`] where it cannot be opened, or is damaged anywhere but at its end.
    pub fn append(path: &Path) -> Result<Self, FormatError> {
        let open = OpenOptions::new().read(true).write(true).open(path);
        let mut file = open.map_err(|error| io_error(path, error))?;
        let whole = whole_bytes(&file).map_err(|trouble| trouble.in_file(path))?;
        file.set_len(whole).map_err(|error| io_error(path, error))?;
        file.seek(SeekFrom::Start(whole)).map_err(|error| io_error(path, error))?;
        Ok(BinaryWriter::on(path, file))
    }

    fn on(path: &Path, file: File) -> Self {
        BinaryWriter { path: path.to_owned(), file, packer: Packer::default(), has_failed: false }
    }

    /// Adds a record, which is in the file at the latest after [`BinaryWriter::flush`].
    ///
    /// # Errors
    /// [`FormatError::Io`].
    pub fn push(&mut self, record: &Record) -> Result<(), FormatError> {
        self.packer.record(record);
        if self.packer.bytes.len() >= FRAME_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes what was added so far.
    ///
    /// # Errors
    /// [`FormatError::Io`].
    pub fn flush(&mut self) -> Result<(), FormatError> {
        let packer = std::mem::take(&mut self.packer);
        if packer.bytes.is_empty() {
            return Ok(());
        }
        if packer.bytes.len() > PAYLOAD_BYTES_MAX {
            let detail =
                format!("a record of {} bytes, at most {PAYLOAD_BYTES_MAX} can be read", packer.bytes.len());
            self.has_failed = true;
            return Err(io_error(&self.path, io::Error::other(detail)));
        }
        self.write(&frame(&packer.bytes))
    }

    /// Writes what was added so far and brings it to the disk.
    ///
    /// # Errors
    /// [`FormatError::Io`].
    pub fn sync(&mut self) -> Result<(), FormatError> {
        self.flush()?;
        let result = self.file.sync_all();
        self.note(result)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        if self.has_failed {
            return Err(io_error(&self.path, io::Error::other("an earlier write failed")));
        }
        let result = self.file.write_all(bytes);
        self.note(result)
    }

    fn note(&mut self, result: io::Result<()>) -> Result<(), FormatError> {
        self.has_failed |= result.is_err();
        result.map_err(|error| io_error(&self.path, error))
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload is within its limit").to_le_bytes();
    let mut bytes = Vec::with_capacity(payload.len() + 12);
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&crc32fast::hash(&length).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Up to where the file is whole.
fn whole_bytes(file: &File) -> Result<u64, Trouble> {
    let mut frames = Frames::new(file)?;
    loop {
        match frames.next()? {
            Frame::Whole(_) => {}
            // Without its header a file says nothing.
            Frame::End | Frame::Torn(_) if frames.offset == HEAD_BYTES as u64 => {
                let place = super::trouble::Place::Byte(HEAD_BYTES as u64);
                return Err(Trouble::at(
                    place,
                    "the file ends before its header is whole",
                    "remove the file",
                ));
            }
            Frame::End | Frame::Torn(_) => return Ok(frames.offset),
        }
    }
}
