//! Random times at which to kill a process.

use std::time::Duration;

/// A seeded splitmix64 generator, so that a failure can be reproduced, as far as timing permits.
pub struct Moments(pub u64);

impl Moments {
    pub fn next(&mut self, least: Duration, most: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        least + (most - least).mul_f64(f64::from(u32::try_from(mixed >> 32).unwrap()) / f64::from(u32::MAX))
    }
}
