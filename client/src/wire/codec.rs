//! The encoding of message bodies. This is the only file of the project that names the crate behind it (bincode, pinned
//! to 2.0.1, as 3.0.0 is an empty tombstone), so that replacing it stays a change of one file.
//!
//! Decoding is for bytes from strangers: it never panics, allocates at most [`DECODE_BYTES_MAX`], and bytes left over
//! behind the value are an error, so that a field lost on one side cannot go unnoticed on the other.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::FRAME_BYTES_MAX;

/// What a decode may allocate: as much as the largest frame could carry.
pub const DECODE_BYTES_MAX: usize = FRAME_BYTES_MAX;

/// A body that does not decode to the type that its kind names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end early, hold an unknown variant, or break a limit.
    #[error("body of {bytes} bytes does not decode: {reason}")]
    Malformed {
        /// Length of the body.
        bytes: usize,
        /// What the decoder said.
        reason: String,
    },
    /// A value decoded, but bytes follow it.
    #[error("{left} bytes left over behind a body of {bytes} bytes")]
    LeftOver {
        /// Length of the body.
        bytes: usize,
        /// How many bytes follow the value.
        left: usize,
    },
}

/// Encodes a body.
///
/// # Panics
/// When the value cannot be encoded at all, which for our own types (no borrowed maps of unknown length, no untagged
/// enums) is a mistake of ours and no matter of the data.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, config()).expect("our message types always encode")
}

/// As [`encode`], behind what is in `bytes` already.
///
/// # Panics
/// As [`encode`].
pub fn encode_into<T: Serialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) {
    bincode::serde::encode_into_std_write(value, bytes, config()).expect("our message types always encode");
}

/// Decodes a body, all of it.
///
/// # Errors
/// [`DecodeError`] when the bytes are not exactly one value of the type.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match decode_front(bytes)? {
        (value, []) => Ok(value),
        (_, rest) => Err(DecodeError::LeftOver { bytes: bytes.len(), left: rest.len() }),
    }
}

/// Decodes a value at the front of some bytes, and gives what follows it.
///
/// # Errors
/// [`DecodeError::Malformed`] when no value of the type stands there.
pub fn decode_front<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    let (value, used) = bincode::serde::decode_from_slice(bytes, config())
        .map_err(|error| DecodeError::Malformed { bytes: bytes.len(), reason: error.to_string() })?;
    Ok((value, &bytes[used..]))
}

/// Adds a value behind its length, for bytes that hold many of them: `length u32 | value`, the length little-endian.
///
/// # Panics
/// As [`encode`], and when the value takes 4 GiB.
pub fn encode_record_into<T: Serialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    encode_into(value, bytes);
    let length = u32::try_from(bytes.len() - start - 4).expect("a record is far shorter than that");
    bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Decodes what [`encode_record_into`] has put at the front of some bytes, and gives what follows it; `None` when they end before
/// it does.
///
/// # Errors
/// As [`decode`].
pub fn decode_record_front<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<(T, &[u8])>, DecodeError> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    match rest.split_at_checked(u32::from_le_bytes(*length) as usize) {
        Some((record, rest)) => Ok(Some((decode(record)?, rest))),
        None => Ok(None),
    }
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<DECODE_BYTES_MAX>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_equal() {
        let value = (7u64, Some(vec![1u8, 2, 3]), "text".to_owned());
        assert_eq!(decode(&encode(&value)), Ok(value));
    }

    #[test]
    fn encoding_behind_something_leaves_it_alone() {
        let (value, mut bytes) = ((1u8, "text".to_owned()), vec![7, 8]);
        encode_into(&value, &mut bytes);
        assert_eq!(bytes, [&[7, 8], encode(&value).as_slice()].concat());
    }

    #[test]
    fn records_come_one_behind_the_other_and_a_cut_one_does_not_come() {
        let mut bytes = Vec::new();
        ["one", "two"].iter().for_each(|value| encode_record_into(value, &mut bytes));
        let (one, rest) = decode_record_front::<String>(&bytes).expect("it decodes").expect("it is whole");
        assert_eq!((one.as_str(), rest.len()), ("one", bytes.len() / 2));
        for cut in 0..rest.len() {
            assert_eq!(decode_record_front::<String>(&rest[..cut]), Ok(None), "cut at {cut}");
        }
        assert!(decode_record_front::<(String, u8)>(rest).is_err());
    }

    #[test]
    fn cut_at_every_byte_is_an_error_and_so_is_a_byte_too_many() {
        let bytes = encode(&(7u64, Some(vec![1u8, 2, 3]), "text".to_owned()));
        for cut in 0..bytes.len() {
            assert!(decode::<(u64, Option<Vec<u8>>, String)>(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(matches!(
            decode::<(u64, Option<Vec<u8>>, String)>(&longer),
            Err(DecodeError::LeftOver { left: 1, .. })
        ));
    }

    #[test]
    fn a_length_beyond_all_reason_allocates_nothing() {
        let huge = encode(&u64::MAX);
        assert!(decode::<Vec<u8>>(&huge).is_err());
    }
}
