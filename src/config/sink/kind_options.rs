//! Trait of the options of a kind of sink: what every kind declares.

/// A kind of sink, by its options.
pub trait SinkOptions {
    /// Destination of the events, which identifies the sink in the ledger: after a change, everything is shipped again.
    fn destination(&self) -> String;

    /// Destination, for the report of `check`; empty if the type says it all.
    fn shown(&self) -> String;

    /// Option whose value no two sinks may share, and its value: lines of both would be interleaved.
    fn exclusive(&self) -> Option<(&'static str, String)>;

    /// True if `encoding.codec: array` can be written.
    fn takes_arrays(&self) -> bool;

    /// True if events are written to standard output, which nothing else may be written to then.
    fn prints(&self) -> bool;
}
