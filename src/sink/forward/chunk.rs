//! Chunk: a message in PackedForward or CompressedPackedForward mode, with the events of one tag.

use std::io;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rmp::encode::{ByteBuf, write_array_len, write_bin, write_map_len, write_str, write_uint};

use crate::{
    config::sink::{Compression, Forward},
    sink::{Frame, compression::compress},
};

/// A message, and the id that the receiver acknowledges it with.
pub(super) struct Chunk {
    pub id: String,
    pub message: Vec<u8>,
}

/// Makes the chunks of a batch, one per tag, in the order in which the tags occur.
pub(super) fn of(batch: &[Frame], config: &Forward) -> io::Result<Vec<Chunk>> {
    let mut by_tag: Vec<(String, Vec<&Frame>)> = Vec::new();
    for frame in batch {
        let tag = config.tag.of(frame.metadata.event_type);
        match by_tag.iter_mut().find(|(known, _)| *known == tag) {
            Some((_, frames)) => frames.push(frame),
            None => by_tag.push((tag, vec![frame])),
        }
    }
    by_tag.iter().map(|(tag, frames)| chunk(tag, frames, config.compression)).collect()
}

fn chunk(tag: &str, frames: &[&Frame], compression: Compression) -> io::Result<Chunk> {
    let id = BASE64_STANDARD.encode(rand::random::<[u8; 16]>());
    let entries = frames.iter().map(|frame| &*frame.bytes).collect::<Vec<_>>().concat();
    let entries = compress(entries, compression)?;
    let is_compressed = compression != Compression::None;
    let mut message = ByteBuf::with_capacity(entries.len() + 256);
    let mut write = || -> Result<(), rmp::encode::ValueWriteError<std::convert::Infallible>> {
        write_array_len(&mut message, 3)?;
        write_str(&mut message, tag)?;
        write_bin(&mut message, &entries)?;
        write_map_len(&mut message, if is_compressed { 3 } else { 2 })?;
        write_str(&mut message, "size")?;
        write_uint(&mut message, frames.len() as u64)?;
        write_str(&mut message, "chunk")?;
        write_str(&mut message, &id)?;
        if is_compressed {
            write_str(&mut message, "compressed")?;
            write_str(&mut message, compression.name())?;
        }
        Ok(())
    };
    // Writing to memory can't fail.
    write().ok();
    Ok(Chunk { id, message: message.into_vec() })
}
