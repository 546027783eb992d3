//! `type: file`: files, one per day or by another pattern.

use std::{num::NonZeroU32, path::PathBuf};

use super::{compression::Compression, kind_options::SinkOptions};
use crate::config::{
    decode::View,
    form::{NonZero, Whole},
    kinds::KindOptions,
    node::Value,
    options::options,
    template::Template,
    url::Urls,
};

options! {
    /// `type: file`.
    #[derive(Debug, Clone)]
    pub struct File {
        /// Path of the file; `%Y`, `%m`, `%d` and other strftime directives are replaced by the day of ingest, UTC.
        pub path: PathBuf as Template = required,
        /// Compression: each batch of events becomes a gzip member or zstd frame of its own. `path` is used as it is: give it the
        /// suffix `.gz` or `.zst`. Not with `encoding.codec: array`.
        pub compression: Compression = Compression::None,
        /// Days after which a file is deleted. Needs a path with a date. None: files are kept.
        pub retention_days: Option<NonZeroU32> as Option<NonZero<Whole<u32, 1, 36_500>>> = None,
    }
}

impl SinkOptions for File {
    fn destination(&self) -> String {
        self.path.display().to_string()
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }

    fn exclusive(&self) -> Option<(&'static str, String)> {
        Some(("path", self.path.display().to_string()))
    }

    fn takes_arrays(&self) -> bool {
        // The end of an array is written over, which compressed data can't be.
        self.compression == Compression::None
    }

    fn prints(&self) -> bool {
        false
    }
}

impl KindOptions for File {
    const URLS: Urls = Urls {
        schemes: &["file"],
        examples: "file:/PATH/%Y%m%d.json",
        read: |url, node| {
            node.put("path", Value::Literal(url.path().to_owned()));
            url.options(node)?;
            Ok(None)
        },
    };

    fn is_sensible(&self, view: &View<'_>) -> bool {
        let sensible = self.retention_days.is_none() || Template::has_date(&self.path);
        if !sensible {
            view.problem("retention_days", "needs a date in path, such as %Y%m%d, to find the files to delete");
        }
        sensible
    }
}
