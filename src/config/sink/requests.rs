//! `batch.*` and `request.*`: options of the sinks that send requests, each with a batch of events.

use std::time::Duration;

use crate::config::{
    form::Whole,
    options::options,
    units::{Seconds, Size},
};

options! {
    /// Batches of events, and the requests that carry them.
    #[derive(Debug, Clone)]
    pub struct Requests {
        /// Maximum size of a batch before compression. A batch with more than one event is no larger.
        pub max_bytes("batch.max_bytes"): u32 as Size<u32, 1_024, 67_108_864> = 1 << 20,
        /// Maximum number of events in a batch.
        pub max_events("batch.max_events"): u32 as Whole<u32, 1, 100_000> = 1_000,
        /// Maximum time in seconds that the first event of a batch waits for others.
        pub batch_timeout("batch.timeout_secs"): Duration as Seconds = Duration::from_secs(1),
        /// Maximum number of requests in flight. One after a failure, until a request succeeds.
        pub concurrency("request.concurrency"): u32 as Whole<u32, 1, 256> = 4,
        /// Maximum time in seconds for a response; then the request is sent again.
        pub timeout("request.timeout_secs"): Duration as Seconds = Duration::from_secs(60),
    }
}
