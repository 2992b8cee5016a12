//! What an endpoint's checks say of it.

use portcullis_config::upstreams::HealthCheck;

/// One endpoint's health. It counts as healthy until it is checked, so that a gateway serves from its first moment;
/// until it has passed once, a single failed check takes it out, so that one that never worked is not asked for long.
#[derive(Debug, Default)]
pub struct Health(State);

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Unproven,
    Healthy {
        failed_in_a_row: u32,
    },
    Unhealthy {
        passed_in_a_row: u32,
    },
}

impl Health {
    pub fn is_healthy(&self) -> bool {
        match self.0 {
            State::Unproven | State::Healthy { .. } => true,
            State::Unhealthy { .. } => false,
        }
    }

    /// Takes in the outcome of one check; says whether it is healthy now where that has changed.
    pub fn observe(&mut self, passed: bool, settings: &HealthCheck) -> Option<bool> {
        let was = self.is_healthy();
        self.0 = match (self.0, passed) {
            (State::Unproven | State::Healthy { .. }, true) => {
                State::Healthy { failed_in_a_row: 0 }
            }
            (State::Unproven, false) => State::Unhealthy { passed_in_a_row: 0 },
            (State::Healthy { failed_in_a_row }, false) => {
                let failed_in_a_row = failed_in_a_row.saturating_add(1);
                if failed_in_a_row >= settings.unhealthy.get() {
                    State::Unhealthy { passed_in_a_row: 0 }
                } else {
                    State::Healthy { failed_in_a_row }
                }
            }
            (State::Unhealthy { .. }, false) => State::Unhealthy { passed_in_a_row: 0 },
            (State::Unhealthy { passed_in_a_row }, true) => {
                let passed_in_a_row = passed_in_a_row.saturating_add(1);
                if passed_in_a_row >= settings.healthy.get() {
                    State::Healthy { failed_in_a_row: 0 }
                } else {
                    State::Unhealthy { passed_in_a_row }
                }
            }
        };
        let is = self.is_healthy();
        (is != was).then_some(is)
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use proptest::prelude::*;

    use super::*;

    fn settings(healthy: u32, unhealthy: u32) -> HealthCheck {
        HealthCheck {
            path: "/".to_owned(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            healthy: NonZeroU32::new(healthy).unwrap(),
            unhealthy: NonZeroU32::new(unhealthy).unwrap(),
        }
    }

    /// `+` passes, `-` fails; the answer has `1` where it is healthy afterwards.
    fn course(checks: &str) -> String {
        let (mut health, settings) = (Health::default(), settings(2, 3));
        checks
            .chars()
            .map(|check| {
                health.observe(check == '+', &settings);
                if health.is_healthy() { '1' } else { '0' }
            })
            .collect()
    }

    #[test]
    fn one_that_has_worked_is_given_time() {
        assert_eq!(course("+--+--"), "111111");
        assert_eq!(course("+---"), "1110");
    }

    #[test]
    fn one_that_never_worked_is_not() {
        assert_eq!(course("-"), "0");
        assert_eq!(course("-+-++"), "00001");
    }

    proptest! {
        #[test]
        fn it_changes_only_after_enough_checks_in_a_row(checks in prop::collection::vec(any::<bool>(), 0..60), healthy in 1_u32..4, unhealthy in 1_u32..4) {
            let settings = settings(healthy, unhealthy);
            let mut health = Health::default();
            let (mut in_a_row, mut last, mut proven) = (0, None, false);
            for passed in checks {
                in_a_row = if last == Some(passed) { in_a_row + 1 } else { 1 };
                last = Some(passed);
                let was = health.is_healthy();
                let changed = health.observe(passed, &settings);
                prop_assert_eq!(changed.is_some(), health.is_healthy() != was);
                if let Some(now) = changed {
                    prop_assert_eq!(now, passed);
                    let needed = if passed { healthy } else if proven { unhealthy } else { 1 };
                    prop_assert!(in_a_row >= needed);
                }
                proven |= passed;
            }
        }
    }
}
