//! Lines and columns of byte offsets in a text.

use crate::config::node::At;

/// Converts byte offsets to lines and columns.
pub(super) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(index, _)| index + 1);
        Self { starts: std::iter::once(0).chain(ends).collect() }
    }

    pub(super) fn at(&self, text: &str, offset: usize) -> At {
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts.get(line.wrapping_sub(1)).copied().unwrap_or(0);
        let column = text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        At::Line { line, column }
    }
}
