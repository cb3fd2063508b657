//! What a file in memory holds, sector by sector. A sector of zeros takes no space, and copies of a file share the sectors
//! in which they do not differ: a simulated disk is made, synced and copied without its bytes being moved.

use std::sync::Arc;

use crate::layout::BLOCK;

pub(super) const SECTOR: usize = 512;
pub(super) const SECTORS_OF_BLOCK: usize = BLOCK / SECTOR;

static ZEROS: [u8; SECTOR] = [0; SECTOR];

/// The bytes of a file.
///
/// Invariant: there are as many sectors as `length` needs; what the last has beyond it is zeros.
#[derive(Debug, Clone, Default)]
pub(super) struct Sectors {
    length: usize,
    /// None: zeros, as a rule. A sector may hold zeros as well.
    sectors: Vec<Option<Arc<[u8; SECTOR]>>>,
}

impl Sectors {
    /// So many zeros.
    pub(super) fn zeros(length: usize) -> Sectors {
        Sectors { length, sectors: vec![None; length.div_ceil(SECTOR)] }
    }

    /// These bytes.
    pub(super) fn of(bytes: &[u8]) -> Sectors {
        let mut sectors = Sectors::zeros(bytes.len());
        sectors.write(0, bytes);
        sectors
    }

    /// Bytes.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Sectors, the last may be a part of one.
    pub(super) fn count(&self) -> usize {
        self.sectors.len()
    }

    /// Fills the buffer with what stands at `offset`, up to the end of the file: says how much that is.
    pub(super) fn read(&self, offset: usize, bytes: &mut [u8]) -> usize {
        let count = self.length.saturating_sub(offset).min(bytes.len());
        let mut rest = &mut bytes[..count];
        let mut at = offset;
        while !rest.is_empty() {
            let within = at % SECTOR;
            let (piece, others) = rest.split_at_mut((SECTOR - within).min(rest.len()));
            piece.copy_from_slice(&self.sector(at / SECTOR)[within..within + piece.len()]);
            at += piece.len();
            rest = others;
        }
        count
    }

    /// All of it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        self.read(0, &mut bytes);
        bytes
    }

    /// Stores bytes inside of the file; says whether they are.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.length) {
            return false;
        }
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let within = at % SECTOR;
            let (piece, others) = rest.split_at((SECTOR - within).min(rest.len()));
            let sector = &mut self.sectors[at / SECTOR];
            if sector.is_some() || *piece != ZEROS[..piece.len()] {
                let content = Arc::make_mut(sector.get_or_insert_with(|| Arc::new(ZEROS)));
                content[within..within + piece.len()].copy_from_slice(piece);
            }
            at += piece.len();
            rest = others;
        }
        true
    }

    /// Whether a sector is the same in both.
    pub(super) fn same(&self, other: &Sectors, sector: usize) -> bool {
        match (&self.sectors[sector], &other.sectors[sector]) {
            (None, None) => true,
            (Some(one), Some(another)) => Arc::ptr_eq(one, another) || one == another,
            (Some(one), None) | (None, Some(one)) => **one == ZEROS,
        }
    }

    /// Makes a sector the same as in the other.
    pub(super) fn take(&mut self, other: &Sectors, sector: usize) {
        let (mine, theirs) = (&mut self.sectors[sector], &other.sectors[sector]);
        let shared = match (&*mine, theirs) {
            (None, None) => true,
            (Some(one), Some(another)) => Arc::ptr_eq(one, another),
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !shared {
            mine.clone_from(theirs);
        }
    }

    /// Flips a bit inside of the file; one behind its end is none.
    pub(super) fn flip(&mut self, bit: usize) {
        let mut byte = [0];
        if self.read(bit / 8, &mut byte) == 1 {
            byte[0] ^= 1 << (bit % 8);
            self.write(bit / 8, &byte);
        }
    }

    fn sector(&self, sector: usize) -> &[u8; SECTOR] {
        self.sectors[sector].as_deref().unwrap_or(&ZEROS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_sectors_is_as_one_of_bytes() {
        let mut plain = vec![0_u8; 3 * SECTOR + 100];
        let mut sectors = Sectors::zeros(plain.len());
        let mut number = 1_usize;
        // Under Miri each byte takes 0.2 ms.
        for _ in 0..if cfg!(miri) { 5 } else { 2_000 } {
            number = number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1) % (1 << 40);
            let offset = number % plain.len();
            let count = number / 7 % 1_200;
            let piece = vec![u8::try_from(number % 3).unwrap_or_default(); count];
            let fits = offset + count <= plain.len();
            assert_eq!(sectors.write(offset, &piece), fits);
            if fits {
                plain[offset..offset + count].copy_from_slice(&piece);
            }
            let mut read = vec![9; count];
            let found = sectors.read(offset, &mut read);
            assert_eq!(
                (found, &read[..found]),
                (count.min(plain.len() - offset), &plain[offset..offset + found])
            );
        }
        assert_eq!(sectors.bytes(), plain);
        assert_eq!(Sectors::of(&plain).bytes(), plain);
    }

    #[test]
    fn copies_go_their_own_ways() {
        let mut one = Sectors::of(&[7; 2 * SECTOR]);
        let mut other = one.clone();
        other.flip(8 * SECTOR);
        assert!(one.same(&other, 0) && !one.same(&other, 1));
        one.take(&other, 1);
        assert!(one.same(&other, 1));
        assert_eq!((one.bytes()[SECTOR], one.bytes()[0]), (6, 7));
        one.write(0, &[0; SECTOR]);
        assert!(one.same(&Sectors::zeros(2 * SECTOR), 0), "zeros are zeros, however they came");
        one.flip(8 * 2 * SECTOR);
        assert_eq!(one.bytes().len(), 2 * SECTOR);
    }
}
