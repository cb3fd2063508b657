//! Reading entries back by their pieces, each with its checksum compared once more.

use crate::batch::Batch;
use crate::bytes::length;
use crate::error::{WalError, io_error};
use crate::group::Piece;
use crate::groups::Groups;
use crate::media::Media;
use crate::recovery::segment_name;
use crate::runs::{ITEM_BYTES, Items, entry_checksum};
use crate::window::Window;

/// Bytes of entries that are moved with one frame.
const MOVE_BYTES: usize = 1 << 20;

/// Reads pieces; the segment of the last one stays open.
#[derive(Debug)]
struct Reader<'a> {
    media: &'a dyn Media,
    open: Option<(u64, Window)>,
    /// Lengths and checksums of the piece being read.
    items: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn new(media: &'a dyn Media) -> Reader<'a> {
        Reader { media, open: None, items: Vec::new() }
    }

    /// Hands out the entries of a piece; one without a place has none.
    fn piece<E: From<WalError>>(
        &mut self,
        group: u64,
        piece: &Piece,
        visit: &mut impl FnMut(u64, u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(spot) = piece.spot else { return Ok(()) };
        let media = self.media;
        let path = || media.path(&segment_name(spot.segment));
        if self.open.as_ref().is_none_or(|(segment, _)| *segment != spot.segment) {
            let source = media.open(&segment_name(spot.segment));
            let source = source.map_err(|error| io_error("open", path())(error))?;
            let bytes = source.length().map_err(|error| io_error("look at", path())(error))?;
            self.open = Some((spot.segment, Window::of_parts(source, length(bytes))));
        }
        let Some((_, window)) = &mut self.open else { return Ok(()) };
        let skip = length(spot.skip.into());
        let count = skip + length(piece.count);
        self.items.clear();
        self.items.extend_from_slice(window.at(length(spot.items.into()), count * ITEM_BYTES));
        let mut at = length(spot.contents.into());
        if self.items.len() != count * ITEM_BYTES {
            let offset = spot.items.into();
            return Err(WalError::Damaged { path: path(), offset, what: "items cut short" }.into());
        }
        for (step, (bytes, checksum)) in Items::of(&self.items).iter().enumerate() {
            if step >= skip {
                let index = piece.first + (step - skip) as u64;
                let content = window.at(at, bytes);
                if content.len() != bytes || entry_checksum(group, index, piece.term, content) != checksum {
                    let (path, offset) = (path(), at as u64);
                    return Err(WalError::Damaged { path, offset, what: "checksum of entry" }.into());
                }
                visit(index, piece.term, content)?;
            }
            at = at.saturating_add(bytes);
        }
        Ok(())
    }
}

/// Hands out the entries of a group from an index on, in order.
pub(crate) fn read_group<E: From<WalError>>(
    media: &dyn Media,
    groups: &Groups,
    group: u64,
    from: u64,
    visit: &mut impl FnMut(u64, u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let Some(found) = groups.by_id.get(&group) else { return Ok(()) };
    let mut reader = Reader::new(media);
    for piece in found.pieces().filter_map(|piece| piece.from(from)) {
        reader.piece(group, &piece, visit)?;
    }
    Ok(())
}

/// Live entries once more, as batches of repairs.
pub(crate) fn copies(media: &dyn Media, pieces: &[(u64, Piece)]) -> Result<Vec<Batch>, WalError> {
    let mut batches = vec![Batch::new()];
    let mut reader = Reader::new(media);
    for (group, piece) in pieces {
        reader.piece(*group, piece, &mut |index, term, content: &[u8]| {
            let mut batch = batches.pop().unwrap_or_default();
            let full = batch.bytes() + content.len() > MOVE_BYTES && !batch.is_empty();
            if full {
                batches.push(std::mem::take(&mut batch));
            }
            batch.repair(*group, index, term, &[content]);
            batches.push(batch);
            Ok::<(), WalError>(())
        })?;
    }
    batches.retain(|batch| !batch.is_empty());
    Ok(batches)
}
