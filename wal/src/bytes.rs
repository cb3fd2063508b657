//! Little-endian numbers in runs of bytes. Reading never panics: what is not there is `None`.

/// The number at `at`, if its four bytes are there.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

/// The number at `at`, if its eight bytes are there.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|word| u64::from_le_bytes(*word))
}

/// Writes a number over the four bytes at `at`, which are there.
pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Writes a number over the eight bytes at `at`, which are there.
pub(crate) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// A length that is bounded far below 4 GiB (segments are, see `layout.rs`) as it stands in the file.
pub(crate) fn word(length: usize) -> u32 {
    u32::try_from(length).expect("lengths inside of a segment are below 1 GiB")
}

/// A number of a file as a length or an offset in memory. Too large for this machine is too large for any check.
pub(crate) fn length(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Appends zeros. What `Vec::resize` does, copied from zeros that are there: under Miri that loop takes 0.2 ms a byte.
pub(crate) fn pad(bytes: &mut Vec<u8>, mut count: usize) {
    while count > 0 {
        let step = count.min(ZEROS.len());
        bytes.extend_from_slice(&ZEROS[..step]);
        count -= step;
    }
}

/// Whether there are only zeros in it; of at most 4 KiB.
pub(crate) fn is_zero(block: &[u8]) -> bool {
    ZEROS.starts_with(block)
}

static ZEROS: [u8; 4096] = [0; 4096];
