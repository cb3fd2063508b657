//! With whom a data directory was begun: a small text file, written once. From then on the log says who belongs to the
//! groups, and flags that name others begin nothing anew. A node that joined was begun with nobody.
//!
//! ```text
//! ordeal first members
//! n1 127.0.0.1:7101
//! n2 127.0.0.1:7102
//! checksum 5d0f4c1a
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use ordeal_client::wire::NodeId;

use super::StorageError;
use super::durable::{Pace, write_durably};
use super::error::io_error;

const FILE: &str = "members";
const TITLE: &str = "ordeal first members";

/// Whom the directory was begun with. A new one is begun with `ours`.
pub(super) fn remember(
    dir: &Path,
    ours: &BTreeMap<NodeId, String>,
) -> Result<BTreeMap<NodeId, String>, StorageError> {
    let path = dir.join(FILE);
    let damaged = || StorageError::Damaged { path: path.clone(), what: "is no list of members".to_owned() };
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text).ok_or_else(damaged),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write_durably(dir, FILE, &[render(ours).as_bytes()], Pace::AtOnce)?;
            Ok(ours.clone())
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(damaged()),
        Err(error) => Err(io_error("read", &path)(error)),
    }
}

fn render(members: &BTreeMap<NodeId, String>) -> String {
    let mut body = format!("{TITLE}\n");
    for (node, address) in members {
        writeln!(body, "{node} {address}").expect("a text takes a line");
    }
    let checksum = crc32fast::hash(body.as_bytes());
    format!("{body}checksum {checksum:08x}\n")
}

fn parse(text: &str) -> Option<BTreeMap<NodeId, String>> {
    let lines = text.strip_prefix(TITLE)?.strip_prefix('\n')?.lines();
    let member = |line: &str| {
        let (node, address) = line.split_once(' ')?;
        Some((node.parse().ok()?, address.to_owned()))
    };
    let members = lines.take_while(|line| !line.starts_with("checksum ")).map(member);
    let members: BTreeMap<NodeId, String> = members.collect::<Option<_>>()?;
    (render(&members) == text).then_some(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> BTreeMap<NodeId, String> {
        [(NodeId(1), "127.0.0.1:7101".to_owned()), (NodeId(2), "[::1]:7102".to_owned())].into()
    }

    #[test]
    fn the_first_members_stay_whatever_comes_later() {
        for first in [some(), BTreeMap::new()] {
            let dir = tempfile::tempdir().unwrap();
            assert_eq!(remember(dir.path(), &first).unwrap(), first);
            let others = [(NodeId(9), "127.0.0.1:9".to_owned())].into();
            assert_eq!(remember(dir.path(), &others).unwrap(), first);
        }
    }

    #[test]
    fn a_file_with_any_changed_byte_is_refused() {
        let text = render(&some());
        assert_eq!(parse(&text), Some(some()));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(String::from_utf8(bytes).is_ok_and(|text| parse(&text).is_none()), "byte {at}");
            assert!(parse(&text[..at]).is_none(), "cut at {at}");
        }
    }
}
