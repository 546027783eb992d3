//! Low-water mark: cumulative confirmation for a sink that has several requests in flight.

use std::{collections::BTreeMap, ops::RangeInclusive};

/// Sequence numbers that were begun and are not settled yet, as ranges: one for each request in flight, and one for each
/// part of a request that has to be sent again. What is settled takes no memory, however far it is ahead.
///
/// Requests begin in the order of their numbers, and end in any order. A number is settled when it was delivered or rejected;
/// the caller reports rejections by itself. A stream, whose peer confirms in order, has a [replay window](super::window).
#[derive(Debug, Default)]
pub struct LowWater {
    /// The last number begun.
    last: u64,
    /// The ranges, by their first numbers.
    unsettled: BTreeMap<u64, Unsettled>,
}

#[derive(Debug)]
struct Unsettled {
    last: u64,
    /// False if the range waits to be sent again.
    in_flight: bool,
}

impl LowWater {
    /// Begins a request with all numbers after the last one begun, up to `last`. Returns its range; an empty one begins
    /// nothing.
    pub fn begin(&mut self, last: u64) -> RangeInclusive<u64> {
        let request = self.last + 1..=last;
        if !request.is_empty() {
            self.unsettled.insert(*request.start(), Unsettled { last, in_flight: true });
            self.last = last;
        }
        request
    }

    /// Begins another request with the oldest range that has to be sent again.
    pub fn begin_again(&mut self) -> Option<RangeInclusive<u64>> {
        let (first, range) = self.unsettled.iter_mut().find(|(_, range)| !range.in_flight)?;
        range.in_flight = true;
        Some(*first..=range.last)
    }

    /// Ends a request. The numbers in `retry`, ranges in ascending order, have to be sent again, each range as a request of
    /// its own; all others of the request are settled.
    pub fn end(&mut self, request: &RangeInclusive<u64>, retry: impl IntoIterator<Item = RangeInclusive<u64>>) {
        if self.unsettled.get(request.start()).is_none_or(|range| !range.in_flight || range.last != *request.end()) {
            return;
        }
        self.unsettled.remove(request.start());
        for range in retry.into_iter().filter(|range| !range.is_empty()) {
            debug_assert!(request.contains(range.start()) && request.contains(range.end()), "{range:?} of {request:?}");
            self.unsettled.insert(*range.start(), Unsettled { last: *range.end(), in_flight: false });
        }
    }

    /// Returns the number up to which everything is settled.
    pub fn confirmed(&self) -> u64 {
        self.unsettled.first_key_value().map_or(self.last, |(first, _)| first - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_that_ends_first_is_confirmed_with_the_ones_before_it() {
        let mut low_water = LowWater::default();
        let (first, second) = (low_water.begin(3), low_water.begin(5));
        assert_eq!((first.clone(), second.clone()), (1..=3, 4..=5));
        low_water.end(&second, []);
        assert_eq!(low_water.confirmed(), 0);
        low_water.end(&first, []);
        assert_eq!(low_water.confirmed(), 5);
    }

    #[test]
    fn the_part_of_a_request_that_failed_is_sent_again_and_holds_the_confirmation() {
        let mut low_water = LowWater::default();
        let request = low_water.begin(10);
        low_water.end(&request, [3..=3, 7..=10]);
        assert_eq!(
            (low_water.confirmed(), low_water.begin_again(), low_water.begin_again()),
            (2, Some(3..=3), Some(7..=10))
        );
        assert_eq!(low_water.begin_again(), None, "both are in flight");
        low_water.end(&(7..=10), []);
        low_water.end(&(3..=3), []);
        assert_eq!(low_water.confirmed(), 10);
    }

    #[test]
    fn a_request_that_has_ended_ends_only_once() {
        let mut low_water = LowWater::default();
        let request = low_water.begin(4);
        low_water.end(&request, [2..=4]);
        low_water.end(&request, []);
        low_water.end(&(2..=4), []);
        assert_eq!(low_water.confirmed(), 1, "2..=4 has not been sent again");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Begin(u64),
        /// Ends one of the requests in flight; bit by bit, which of its numbers have to be sent again.
        End(usize, u32),
        Again,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..9u64).prop_map(Step::Begin),
            3 => (0..9usize, prop_oneof![Just(0), any::<u32>()]).prop_map(|(request, retry)| Step::End(request, retry)),
            2 => Just(Step::Again),
        ]
    }

    /// The ranges of the numbers of `request` whose bits are set.
    fn ranges(request: &RangeInclusive<u64>, bits: u32) -> Vec<RangeInclusive<u64>> {
        let mut ranges: Vec<RangeInclusive<u64>> = Vec::new();
        for number in request.clone().filter(|number| bits >> (number - request.start()) & 1 == 1) {
            match ranges.last_mut() {
                Some(last) if *last.end() + 1 == number => *last = *last.start()..=number,
                _ => ranges.push(number..=number),
            }
        }
        ranges
    }

    /// The set of settled numbers, which the mark sums up.
    #[derive(Default)]
    struct Model {
        low_water: LowWater,
        begun: u64,
        settled: BTreeSet<u64>,
        in_flight: Vec<RangeInclusive<u64>>,
        confirmed: u64,
    }

    impl Model {
        fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
            match *step {
                Step::Begin(count) => {
                    let request = self.low_water.begin(self.begun + count);
                    prop_assert_eq!(&request, &(self.begun + 1..=self.begun + count));
                    self.begun += count;
                    self.in_flight.extend(Some(request).filter(|request| !request.is_empty()));
                }
                Step::End(at, retry) if !self.in_flight.is_empty() => {
                    let request = self.in_flight.swap_remove(at % self.in_flight.len());
                    let retry = ranges(&request, retry);
                    self.low_water.end(&request, retry.clone());
                    self.settled.extend(request.filter(|number| !retry.iter().any(|range| range.contains(number))));
                }
                Step::Again => {
                    if let Some(request) = self.low_water.begin_again() {
                        prop_assert!(request.clone().all(|number| !self.settled.contains(&number)), "it is settled");
                        let is_apart = |other: &RangeInclusive<u64>| {
                            other.end() < request.start() || request.end() < other.start()
                        };
                        prop_assert!(self.in_flight.iter().all(is_apart), "a number is in two requests");
                        self.in_flight.push(request);
                    }
                }
                Step::End(..) => {}
            }
            let gapless = (1..=self.begun).take_while(|number| self.settled.contains(number)).last().unwrap_or(0);
            prop_assert_eq!(self.low_water.confirmed(), gapless);
            prop_assert!(gapless >= self.confirmed, "it went back");
            self.confirmed = gapless;
            let ranges = self.low_water.unsettled.len();
            prop_assert!(ranges + self.settled.len() <= self.begun as usize, "more ranges than unsettled numbers");
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn confirmation_never_passes_an_unsettled_number_and_reaches_the_end(steps in prop::collection::vec(step(), 0..100)) {
            let mut model = Model::default();
            for step in &steps {
                model.take(step)?;
            }
            while model.settled.len() < model.begun as usize {
                let before = model.settled.len();
                model.take(&Step::Again)?;
                model.take(&Step::End(0, 0))?;
                prop_assert!(model.settled.len() > before, "an unsettled number is neither in flight nor sent again");
            }
            prop_assert_eq!(model.low_water.confirmed(), model.begun);
            prop_assert!(model.low_water.unsettled.is_empty());
        }
    }
}
