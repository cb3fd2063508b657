//! Shared byte strings in messages, laid out as a whole and not byte by byte: for `#[serde(with = "shared_bytes")]`.

use std::sync::Arc;

use serde::{Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serde_bytes::serialize(&**bytes, serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[u8]>, D::Error> {
    serde_bytes::deserialize::<Vec<u8>, D>(deserializer).map(Arc::from)
}
