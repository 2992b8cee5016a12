//! Which endpoints of an upstream are fit to be asked.
//!
//! Two things speak against one: it fails the checks that it is sent ([`Health`]), or requests fail there that succeed
//! elsewhere ([`Outlier`]). The first is obeyed for as long as any endpoint is healthy. The second is a guess from
//! traffic and goes by shares: where more of them deserve to be out than may be, the upstream as a whole is sick, and
//! leaving endpoints out would only bury the rest. Then nobody is left out, and the breaker decides.

mod health;
mod outlier;

pub use health::Health;
pub use outlier::{Ejection, Outlier};

/// What is known of one endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    pub weight: u8,
    pub is_healthy: bool,
    pub is_ejected: bool,
}

/// Whom an upstream's requests are shared among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// Those that nothing speaks against.
    TheFit,
    /// More are ejected than may be: ejection is passed over.
    TheHealthy,
    /// No endpoint is healthy: better to ask than to refuse.
    All,
}

impl Among {
    /// `max_ejected_percent` is 100 where nothing is ever ejected.
    pub fn of(endpoints: &[Condition], max_ejected_percent: u8) -> Self {
        let serving = || endpoints.iter().filter(|endpoint| endpoint.weight > 0);
        let healthy = serving().filter(|endpoint| endpoint.is_healthy).count();
        if healthy == 0 {
            return Self::All;
        }
        let ejected = serving().filter(|endpoint| endpoint.is_ejected).count();
        let fit = serving()
            .filter(|endpoint| endpoint.is_healthy && !endpoint.is_ejected)
            .count();
        if fit == 0 || ejected > most_ejected(serving().count(), max_ejected_percent) {
            return Self::TheHealthy;
        }
        Self::TheFit
    }

    /// Whether an endpoint is one of them. One that is drained never is.
    pub fn includes(self, endpoint: &Condition) -> bool {
        let is_fit_enough = match self {
            Self::TheFit => endpoint.is_healthy && !endpoint.is_ejected,
            Self::TheHealthy => endpoint.is_healthy,
            Self::All => true,
        };
        endpoint.weight > 0 && is_fit_enough
    }
}

/// At least one of two or more, and never the last.
fn most_ejected(endpoints: usize, percent: u8) -> usize {
    let share = endpoints.saturating_mul(usize::from(percent)) / 100;
    share.max(1).min(endpoints.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_share_is_at_least_one_and_never_all() {
        for (endpoints, percent, most) in [
            (1, 50, 0),
            (1, 100, 0),
            (2, 50, 1),
            (2, 10, 1),
            (3, 50, 1),
            (4, 50, 2),
            (4, 100, 3),
            (10, 20, 2),
        ] {
            assert_eq!(
                most_ejected(endpoints, percent),
                most,
                "{percent}% of {endpoints}"
            );
        }
    }

    fn conditions() -> impl Strategy<Value = Vec<Condition>> {
        let one =
            (0_u8..3, any::<bool>(), any::<bool>()).prop_map(|(weight, is_healthy, is_ejected)| {
                Condition {
                    weight,
                    is_healthy,
                    is_ejected,
                }
            });
        prop::collection::vec(one, 1..8)
    }

    proptest! {
        #[test]
        fn there_is_always_somebody_to_ask(endpoints in conditions(), percent in 1_u8..=100) {
            let among = Among::of(&endpoints, percent);
            let asked = endpoints.iter().filter(|endpoint| among.includes(endpoint)).count();
            let serving = endpoints.iter().filter(|endpoint| endpoint.weight > 0).count();
            prop_assert_eq!(asked == 0, serving == 0);
        }

        #[test]
        fn a_sick_endpoint_is_asked_only_where_all_are_sick(endpoints in conditions(), percent in 1_u8..=100) {
            let among = Among::of(&endpoints, percent);
            let sick = endpoints.iter().any(|endpoint| !endpoint.is_healthy && among.includes(endpoint));
            let healthy = endpoints.iter().any(|endpoint| endpoint.is_healthy && endpoint.weight > 0);
            prop_assert!(!(sick && healthy));
        }

        #[test]
        fn never_more_are_left_out_for_their_answers_than_may_be(endpoints in conditions(), percent in 1_u8..=100) {
            let among = Among::of(&endpoints, percent);
            let serving = endpoints.iter().filter(|endpoint| endpoint.weight > 0).count();
            let left_out = endpoints
                .iter()
                .filter(|endpoint| endpoint.weight > 0 && endpoint.is_healthy && !among.includes(endpoint))
                .count();
            prop_assert!(left_out <= most_ejected(serving, percent));
        }
    }
}
