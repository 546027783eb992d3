//! `compression`: of the batches of `file`, `forward` and `http`.

use crate::config::options::choices;

choices! {
    /// Compression of batches.
    pub enum Compression = None {
        None = "none",
        /// RFC 1952, at the fastest level.
        Gzip = "gzip",
        /// RFC 8878: a sixth smaller than gzip, for several times the CPU.
        Zstd = "zstd",
    }
}
