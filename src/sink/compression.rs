//! Compression of batches: each becomes a gzip member (RFC 1952) or a zstd frame (RFC 8878) of its own.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use crate::config::sink::Compression;

/// Compresses a batch. The result has a checksum, so that readers notice damage.
pub(super) fn compress(batch: Vec<u8>, compression: Compression) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(batch),
        Compression::Gzip => {
            // The fastest level: events shrink to a tenth with it, and to little less with slower ones.
            let level = flate2::Compression::fast();
            let mut encoder = GzEncoder::new(Vec::with_capacity(batch.len() / 4), level);
            encoder.write_all(&batch)?;
            encoder.finish()
        }
        // The one level that the crate implements.
        Compression::Zstd => Ok(compress_to_vec(&*batch, CompressionLevel::Fastest)),
    }
}
